/* date_layout: the DateFormat of a date partition. Pure.
 *
 * Either a Go layout, which spells the reference time Mon Jan 2 15:04:05 2006 ("2006-01-02"), or strftime's
 * ("%Y-%m-%d"). Only elements of a fixed width are taken, since the date is the first bytes of a key. */
#ifndef BERTH_SPEC_DATE_LAYOUT_H
#define BERTH_SPEC_DATE_LAYOUT_H

#include "base/err.h"
#include "base/str.h"

#define DATE_LAYOUT_MAX 64 /* bytes of a layout, and of a date in it */

struct date_layout {
    struct date_element {
        char field; /* Y y m d H M S j b as in strftime; 0: the byte `literal` */
        char literal;
    } elements[DATE_LAYOUT_MAX];
    size_t n;
};

int date_layout_parse(struct date_layout *out, struct span text, struct err *err);

/* Whether `key` begins with a date in that layout; `date` is how the layout would write it. */
bool date_layout_match(const struct date_layout *layout, struct span key, char date[DATE_LAYOUT_MAX]);

#endif
