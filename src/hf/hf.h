/* hf: reading the Hugging Face Hub: which files a revision of a repository holds, and their bytes.
 *
 * A struct hf is a client for one repository (a model, "datasets/owner/name" or "spaces/owner/name") at one endpoint
 * with one token. A revision is turned into its commit first, and everything after asks for that commit, so that a
 * branch that moves meanwhile can't mix two of its states. What the tree of the commit states (SHA-256 of files in
 * large file storage, git blob ids of the others) is what the bytes are held against.
 *
 * Sources: "Hub API Endpoints" (revision, tree), "Download files" (resolve; X-Repo-Commit, X-Linked-Etag and
 * X-Linked-Size, X-Error-Code), "Hub Rate limits", "Hub Local Cache" and "Environment variables" of the Hub's and
 * huggingface_hub's documentation; RFC 8288 (Link).
 *
 * Mirrors. Where a mirror's left side starts the endpoint (at a '/' or its end), its right side replaces that start:
 *   https://huggingface.co=http://127.0.0.1:8080/hub
 *
 * One thread at a time uses a struct hf; fetches are independent of it once made, but must not outlive the token. */
#ifndef BERTH_HF_HF_H
#define BERTH_HF_HF_H

#include "base/arena.h"
#include "base/cancel.h"
#include "base/err.h"
#include "spec/job.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

#include <stdint.h>

#define HF_ENDPOINT_DEFAULT "https://huggingface.co"

/* ---- whose requests they are ---- */

/* The job's own token, else, for a job run by its own author, what Hugging Face's own tools would use: HF_TOKEN (or
 * HUGGING_FACE_HUB_TOKEN), the file HF_TOKEN_PATH, $HF_HOME/token, $XDG_CACHE_HOME/huggingface/token,
 * ~/.cache/huggingface/token; none of these where HF_HUB_DISABLE_IMPLICIT_TOKEN says so. Else anonymous. Constant once
 * opened: any thread. */
struct hf_token;
struct hf_token_opts {
    const char *job;        /* accessToken; NULL or "": none */
    bool ambient;           /* the environment's and the file's may be used */
    const char *const *env; /* NULL: the process environment; else a "NAME=value" list */
};
/* ERR_INVALID: a token that can't stand in a header; errors of the file, unless it is not there. */
int hf_token_open(struct hf_token **out, const struct hf_token_opts *opts, struct err *err);
void hf_token_free(struct hf_token *t); /* wiped */
bool hf_token_anonymous(const struct hf_token *t);
const char *hf_token_describe(const struct hf_token *t); /* "the token of HF_TOKEN", never the token. Borrowed. */
/* 32 bytes that are equal for equal tokens: the base of the cache's scope. ERR_INVALID: anonymous. */
int hf_token_scope(const struct hf_token *t, uint8_t out[32], struct err *err);

/* ---- the repository ---- */

struct hf_opts {
    struct http *http;          /* borrowed: revisions, trees, HEADs */
    const char *endpoint;       /* may end in a path, "https://proxy.example/hub"; NULL: HF_ENDPOINT_DEFAULT */
    const char *const *mirrors; /* "FROM=TO", NULL-terminated; NULL: none */
    bool plain_http_refused;    /* http:// only to loopback and by a mirror */
    const struct cancel *cancel;
};

struct hf;
/* Sends nothing yet. `src` is borrowed and must outlive the client, and so must the token. ERR_INVALID (endpoint,
 * mirror), ERR_REFUSED (plain http). */
int hf_open(struct hf **out, const struct source_hf *src, const struct hf_token *token, const struct hf_opts *opts,
            struct err *err);
void hf_free(struct hf *hf);

#define HF_OID_MAX 32

struct hf_file {
    const char *path;   /* in the repository; hub layout: the first of those that have this content */
    const char *target; /* where it lies below the target: at the path, or where the hub's own cache has it */
    uint64_t size;
    bool lfs; /* `oid` is a SHA-256, else a git blob id (SHA-1) */
    uint8_t oid[HF_OID_MAX];
};

struct hf_link {
    const char *path, *to; /* below the target */
};

/* What a source means now: the files of one commit, sorted by target, each safe to be a path, none in another's way. */
#define HF_FILES_MAX 1000000
struct hf_resolution {
    struct arena *arena;
    const char *commit; /* 40 hex digits */
    const char *repo;   /* as the hub calls it now: "owner/name", "datasets/owner/name" … */
    const struct hf_file *files;
    size_t file_count;
    uint64_t total_bytes;
    /* Hub layout, below the target; else NULL and none: */
    const char *snapshot_path;   /* the folder of the commit */
    const char *ref_path;        /* a file whose content is `commit`; NULL: none is due */
    const struct hf_link *links; /* every path of the repository that was picked, to its file; sorted by path */
    size_t link_count;
    const char **warnings;
    size_t warning_count;
};

/* Asks for the commit of `revision` (NULL: the source's own, else "main"), lists it, and picks the source's files:
 * names or globs (*, ?, [a-z], [!a-z]; all of these match '/', too). No files: all of them.
 *
 * In the layout of the hub's own cache, below models--owner--name, the files are blobs/<etag> (the SHA-256 of files in
 * large file storage, the git blob id of the others: equal content is one file), snapshots/<commit>/<path> are links to
 * them, and the ref is refs/<revision>, under the name and the revision that the job uses.
 *
 * Errors: DENIED (token refused, gated, disabled), NOTFOUND (repository, revision, file: with near misses), TRANSIENT,
 * PROTOCOL, REFUSED (paths that may not become files), LIMIT. */
int hf_resolve(struct hf *hf, const char *revision, struct hf_resolution **out, struct err *err);
void hf_resolution_free(struct hf_resolution *r);

/* "sha256:…" or "git:…": equal content has equal versions, whatever its commit. */
#define HF_VERSION_MAX (8 + 2 * HF_OID_MAX)
const char *hf_version(const struct hf_file *f, char out[HF_VERSION_MAX]);

/* "<endpoint>/<repository>/<path>", mirrors applied: where a file is, for cache identities and records. */
void hf_location(const struct hf *hf, const struct hf_resolution *r, const char *path, struct buf *out);

/* That this token may read the repository, by one HEAD of one of its files: trees of gated repositories are public.
 * What the answer states of the file must be what the tree stated (ERR_PROTOCOL). Blocks. */
int hf_prove(struct hf *hf, const struct hf_resolution *r, const struct hf_file *f, struct err *err);

/* ---- feeding xfer ---- */

/* A source over one file, whose facts are copied. The context is owned by the caller until `done`. Redirects to other
 * hosts (where large files are) are the engine's, which leaves the token behind. */
struct hf_fetch;
int hf_fetch_new(struct hf_fetch **out, const struct hf *hf, const struct hf_resolution *r, const struct hf_file *f,
                 struct err *err);
void hf_fetch_free(struct hf_fetch *t);
void hf_want(const struct hf_file *f, struct xfer_want *out);
extern const struct xfer_source hf_xfer_source; /* source_ctx: struct hf_fetch * */

#endif
