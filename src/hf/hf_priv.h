/* hf, inside. Nothing here leaves the folder. */
#ifndef BERTH_HF_HF_PRIV_H
#define BERTH_HF_HF_PRIV_H

#include "base/buf.h"
#include "base/path.h"
#include "hf/hf.h"
#include "hf/page.h"

#define HF_URL_MAX       16384
#define HF_NAME_MAX      256
#define HF_AUTH_MAX      5000 /* "Bearer " and a token */
#define HF_REDIRECTS_MAX 5
#define HF_LOCATION_MAX  (HF_URL_MAX + PATH_SAFE_MAX)

/* X(name, word of the API, word before owner/name in other addresses, folder of the hub's own cache) */
#define HF_KINDS(X)                                                                                                    \
    X(MODEL, "models", "", "models--")                                                                                 \
    X(DATASET, "datasets", "datasets/", "datasets--")                                                                  \
    X(SPACE, "spaces", "spaces/", "spaces--")

enum hf_kind {
#define X(name, api, prefix, folder) HF_##name,
    HF_KINDS(X)
#undef X
};

struct hf {
    struct arena *arena;
    struct http *http;
    const struct hf_token *token;
    const struct source_hf *src;
    const struct cancel *cancel;
    const char *endpoint; /* as it was given: what people can open */
    const char *front;    /* what requests go to; no slash at the end of either */
    enum hf_kind kind;
    char name[HF_NAME_MAX]; /* "owner/name", as the hub calls it now */
    bool plain_http;        /* others may read what is sent */
};

const char *hf_kind_prefix(enum hf_kind kind);
const char *hf_kind_folder(enum hf_kind kind);

/* "Bearer …"; nothing where anonymous. Wipe what it was written to. */
void hf_token_write(const struct hf_token *t, struct buf *out);

/* "<front>/api/models/owner/name/<what>/" and the revision, encoded. */
void hf_api_url(const struct hf *hf, const char *what, const char *revision, struct buf *out);
/* "<front>/datasets/owner/name/resolve/<commit>/<path>", encoded. */
void hf_file_url(const struct hf *hf, const char *commit, const char *path, struct buf *out);

/* One request with the token; any status is an answer. */
struct hf_ask {
    const char *method, *url;
    size_t body_max; /* 0: the default of http.h */
    bool keep_redirects;
};
int hf_exchange(const struct hf *hf, const struct hf_ask *ask, struct http_response *resp, struct err *err);

/* What the hub calls the repository after redirects, where it is another name: "owner/name" into `name`. Pure. */
bool hf_renamed(const char *asked, const char *answered, enum hf_kind kind, char name[HF_NAME_MAX]);

/* The commits of an answer and of the question must agree, and what it links to must be the file. */
int hf_check_answer(const struct http_response *resp, const char *commit, const struct hf_file *f, struct err *err);

/* Which of `files` (in order) the names and patterns mean: true in `chosen`, which starts all false. ERR_NOTFOUND names
 * the first that means nothing, with near misses; ERR_LIMIT: too many patterns, each of which costs a look at all
 * files. */
#define HF_PATTERNS_MAX 1000
int hf_select(const struct hf_file *files, size_t n, const struct job_strs *wanted, const struct cancel *cancel,
              bool *chosen, struct err *err);

size_t hf_oid_bytes(const struct hf_file *f);

/* The targets of the resolution's files, in the order of these; in the hub's layout also the links and the ref. `files`
 * are the resolution's, sorted by path. ERR_PROTOCOL: one content with two sizes. Pure. */
int hf_lay_out(const struct hf *hf, struct hf_resolution *r, struct hf_file *files, struct err *err);

/* Sorted by path, which may be any text. ERR_PROTOCOL: one is there twice. Pure. */
int hf_put_in_order(struct hf_file *files, size_t n, struct err *err);

/* ERR_REFUSED where they can't become a tree of files. They stay in order. Pure. */
int hf_check_paths(struct hf_file *files, size_t n, struct err *err);

#endif
