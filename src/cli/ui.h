/* ui: what a person (or a program) sees while berth works: bars on a terminal, sober lines elsewhere, JSON events with
 * --json.
 *
 * A ticker thread draws; everything else tells it what happened. All calls are thread-safe. Diagnostics go to stderr,
 * the container's own output to where it belongs; with --json everything is one event a line on stdout. */
#ifndef BERTH_CLI_UI_H
#define BERTH_CLI_UI_H

#include "cli/cli.h"
#include "job/run.h"
#include "stage/stage.h"

struct ui;

int ui_new(struct ui **out, const struct cli *cli, struct err *err);
void ui_free(struct ui *ui); /* clears the bars */

/* From now on draw this staging's inputs; NULL: it is over. */
void ui_stage(struct ui *ui, const struct stage *stage, size_t inputs);
void ui_phase(struct ui *ui, const char *phase);
void ui_pull(struct ui *ui, const char *status, uint64_t done_bytes, uint64_t total_bytes);
void ui_publish(struct ui *ui, uint64_t done_bytes, uint64_t total_bytes);
void ui_output(struct ui *ui, int stream, const void *p, size_t n);
void ui_warn(struct ui *ui, const char *text);
/* A member-rich event for --json ("result"); ignored otherwise. Steals `event`. */
void ui_event(struct ui *ui, const char *name, json_t *event);
/* One line for people, not shown with --json or --quiet. */
void ui_note(struct ui *ui, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* The callbacks of job_run() on this ui. */
struct run_events ui_run_events(struct ui *ui);

#endif
