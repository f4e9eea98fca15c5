/* file_name: what a downloaded file is called. Pure.
 *
 * In order: what the server proposes in Content-Disposition (RFC 6266; its filename* in the form of RFC 8187 goes
 * before filename), the last segment of the URL that answered in the end, "download". A proposal becomes one safe path
 * component: only what follows its last slash or backslash counts, controls become '_', so does a leading dot, unless
 * whoever asked wrote it themselves; bytes that are not UTF-8 are read as ISO 8859-1. */
#ifndef BERTH_STAGE_FILE_NAME_PRIV_H
#define BERTH_STAGE_FILE_NAME_PRIV_H

#include "base/buf.h"

#define FILE_NAME_FALLBACK "download"
#define FILE_NAME_TEXT_MAX 4096 /* bytes of a proposal before it is reduced */

/* The name that a Content-Disposition field proposes, as it stands there; false, and `out` empty, where there is none.
 */
bool file_name_of_disposition(struct span field, struct buf *out);

/* `disposition` may be NULL; the URLs may have queries, which do not count. Adds 1 to 255 bytes of UTF-8 to `out`. */
void file_name_choose(const char *disposition, const char *final_url, const char *asked_url, struct buf *out);

#endif
