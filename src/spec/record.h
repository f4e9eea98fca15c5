/* record: the words of the `job` member of a run record, shared by its writer and its reader. Home use. */
#ifndef BERTH_SPEC_RECORD_H
#define BERTH_SPEC_RECORD_H

#include "spec/read.h"

/* What {"secret": NAME} calls a secret: "input0.access_key_id", "env.TOKEN", "registry.password"; after the first op
 * with "op1." before it. */
#define SECRET_PREFIX_MAX 64

/* Enumerations as words. */
extern const char *const record_source_words[];
extern const char *const record_partition_words[];
extern const char *const record_publisher_words[];
extern const char *const record_network_words[];
extern const char *const record_op_words[];

/* The index of a required word; 0, with a problem noted, where it is unknown. */
unsigned record_word(struct reader *r, const struct node *object, const char *key, const char *const *words);

/* A string, or {"secret": NAME} that -V NAME=… fills; without that a problem that says so. */
const char *record_node_secret(struct reader *r, const struct node *n);
const char *record_secret(struct reader *r, const struct node *object, const char *key);

void record_input_read(struct reader *r, const struct node *n, struct input *in);

/* What an entry of the record's `inputs` adds to the input of the same index. */
void record_pins_read(struct reader *r, const struct node *n, struct input *in);

#endif
