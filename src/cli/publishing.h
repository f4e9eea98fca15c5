/* publishing: what the commands that publish have in common: access from the settings, and results for people. */
#ifndef BERTH_CLI_PUBLISHING_H
#define BERTH_CLI_PUBLISHING_H

#include "cli/ui.h"
#include "publish/publish.h"

/* From the same settings as inputs. Borrows from `from`. */
void publishing_access(const struct stage_access *from, struct publish_access *out);

/* One line about a PublishedResult; nothing for NULL. */
void publishing_note(struct ui *ui, const json_t *published);

#endif
