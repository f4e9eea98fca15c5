/* fault: what the hub says when it says no, and what berth tells the user. Pure.
 *
 * X-Error-Code and X-Error-Message, else the status and {"error": …} of the body. A repository that the asker may not
 * see is answered as one that does not exist: 401 to the anonymous, 404 to others. */
#ifndef BERTH_HF_FAULT_H
#define BERTH_HF_FAULT_H

#include "base/err.h"
#include "xfer/http.h"

/* X(name, X-Error-Code) */
#define HF_FAULT_CODES(X)                                                                                              \
    X(NONE, "")                                                                                                        \
    X(GATED, "GatedRepo")                                                                                              \
    X(DISABLED, "DisabledRepo")                                                                                        \
    X(REPOSITORY, "RepoNotFound")                                                                                      \
    X(REVISION, "RevisionNotFound")                                                                                    \
    X(ENTRY, "EntryNotFound")

enum hf_fault_code {
#define X(name, word) HF_FAULT_##name,
    HF_FAULT_CODES(X)
#undef X
};

struct hf_fault {
    int status;
    enum hf_fault_code code;
    char message[256]; /* the hub's own words, one line; "" */
};

/* Never fails: what can't be read stays empty. */
void hf_fault_read(const struct http_response *resp, struct hf_fault *out);

/* Who asked for what. Borrowed; none is a secret. */
struct hf_fault_context {
    const char *endpoint; /* for people, without a slash at its end */
    const char *repo;     /* "datasets/owner/name" */
    const char *revision; /* or commit */
    const char *path;     /* NULL: not about a file */
    const char *token;    /* hf_token_describe() */
    bool anonymous;
};

/* Sets `err`. Returns -1. */
int hf_fault_report(const struct hf_fault *f, const struct hf_fault_context *c, struct err *err);

#endif
