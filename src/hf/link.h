/* link: the Link header (RFC 8288), as far as paging needs it. Pure. */
#ifndef BERTH_HF_LINK_H
#define BERTH_HF_LINK_H

#include "base/str.h"

/* The target of the first link whose relation is "next"; false where there is none, or the header is malformed. A view
 * of the header. */
bool hf_link_next(struct span header, struct span *target);

#endif
