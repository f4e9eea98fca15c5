/* glob: which paths a pattern means, as huggingface_hub filters (Python's fnmatch): '*' is any text, '?' one character,
 * "[a-z]" one of a set, "[!a-z]" one outside it; all of them match '/', too; a pattern that ends in '/' means all that
 * is below. There is no escape: "[*]" is a star. A '[' without its ']' is itself. Pure. */
#ifndef BERTH_HF_GLOB_H
#define BERTH_HF_GLOB_H

#include "base/str.h"

bool hf_glob_is_pattern(struct span text);
bool hf_glob_match(struct span pattern, struct span text);

#endif
