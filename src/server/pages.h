/* pages: files that are built into the server: the description of its API, and the dashboard. Made by tools/embed. */
#ifndef BERTH_SERVER_PAGES_H
#define BERTH_SERVER_PAGES_H

#include "base/str.h"

struct server_page {
    const char *path, *type;
    struct span bytes;
};
extern const struct server_page server_pages[]; /* ends with a NULL path */

#endif
