/* xml: answers in XML, as they arrive, into open and close events. By expat, which stays inside this file's .c.
 *
 * Made for data from strangers: a DOCTYPE (and with it every entity) is refused, and bytes, depth and the text of one
 * element have ceilings. Namespace prefixes are cut off. All of it is ERR_PROTOCOL. */
#ifndef BERTH_S3_XML_H
#define BERTH_S3_XML_H

#include "base/err.h"
#include "base/str.h"

#define XML_DEPTH_MAX 16
#define XML_TEXT_MAX  ((size_t)16 << 10)

struct xml_events {
    /* `depth` counts from 1, the root. Non-zero stops the parse with that error. */
    int (*open)(void *ctx, const char *name, unsigned depth, struct err *err); /* NULL: not wanted */
    /* `text` is what stands in the element since its last child; valid during the call. */
    int (*close)(void *ctx, const char *name, unsigned depth, struct span text, struct err *err);
};

struct xml;
struct xml *xml_open(const struct xml_events *events, void *ctx, size_t bytes_max, struct err *err);
void xml_free(struct xml *x);
int xml_feed(struct xml *x, const void *p, size_t n, struct err *err);
int xml_finish(struct xml *x, struct err *err); /* a text that is cut off is an error here */

#endif
