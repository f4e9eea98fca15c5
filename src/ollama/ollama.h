/* ollama: reading models from an Ollama registry: a manifest, and the blobs that it names.
 *
 * The registry speaks the OCI Distribution API ("OCI Distribution Specification", 1.1: pulling manifests and blobs;
 * "Token Authentication Specification" of the Distribution project: Bearer challenges). Berth asks without credentials
 * of its own; a token that a registry hands to anybody is fetched where it is asked for, and stays with that registry.
 *
 * A manifest is held against the digest that the registry states, and is kept byte for byte; each blob against the
 * SHA-256 that the manifest names. On disk they lie as Ollama itself has them, so that `ollama serve` finds the model:
 *   manifests/<host>/<namespace>/<name>/<tag>    blobs/sha256-<hex>
 *
 * Registries are asked by https; by http only on this machine's own addresses. Mirrors replace the start of
 * "https://<host>/v2/<namespace>/<name>", and may be http://.
 *
 * A struct ollama is thread-safe once it is opened; a resolution is constant. */
#ifndef BERTH_OLLAMA_OLLAMA_H
#define BERTH_OLLAMA_OLLAMA_H

#include "base/arena.h"
#include "base/cancel.h"
#include "base/err.h"
#include "digest/digest.h"
#include "xfer/http.h"
#include "xfer/xfer.h"

#include <stdint.h>

#define OLLAMA_HOST_DEFAULT      "registry.ollama.ai"
#define OLLAMA_NAMESPACE_DEFAULT "library"
#define OLLAMA_TAG_DEFAULT       "latest"
#define OLLAMA_HOST_MAX          255
#define OLLAMA_PART_MAX          80

/* ---- names ---- */

/* "[host/][namespace/]name[:tag]" with its defaults filled in. */
struct ollama_ref {
    char host[OLLAMA_HOST_MAX + 1]; /* with its port */
    char space[OLLAMA_PART_MAX + 1];
    char name[OLLAMA_PART_MAX + 1];
    char tag[OLLAMA_PART_MAX + 1];
};

/* Of two parts the first is a host where it could not be a namespace (it has a '.' or ':', or is "localhost"). Pure.
 * ERR_INVALID. */
int ollama_ref_parse(struct ollama_ref *out, struct span text, struct err *err);
/* "host/namespace/name:tag" */
void ollama_ref_write(const struct ollama_ref *ref, struct buf *out);

/* ---- manifests ---- */

#define OLLAMA_MANIFEST_MAX ((size_t)4 << 20) /* what registries take */
#define OLLAMA_BLOBS_MAX    1024
#define OLLAMA_DIGEST_MAX   (sizeof "sha256:" + 64)

struct ollama_blob {
    struct digest_value digest; /* SHA-256 */
    uint64_t size;
};

struct ollama_manifest {
    const struct ollama_blob *blobs; /* the configuration and the layers, each once, by digest */
    size_t blob_count;
    uint64_t total_bytes;
};

/* Of the one model that a manifest describes. Pure. ERR_PROTOCOL; ERR_INVALID: an image or an index, no model. */
int ollama_manifest_parse(struct arena *a, struct span text, struct ollama_manifest *out, struct err *err);

/* ---- a model of a registry ---- */

struct ollama_opts {
    struct http *http;          /* borrowed: manifests and tokens */
    const char *const *mirrors; /* "FROM=TO", NULL-terminated; NULL: none */
    const struct cancel *cancel;
};

struct ollama;
/* Sends nothing yet. ERR_INVALID (name, mirror). */
int ollama_open(struct ollama **out, const char *model, const struct ollama_opts *opts, struct err *err);
void ollama_free(struct ollama *o);
const struct ollama_ref *ollama_ref(const struct ollama *o);
/* Where its blobs are, mirrors applied: "https://registry.ollama.ai/v2/library/name". */
const char *ollama_place(const struct ollama *o);

struct ollama_resolution {
    struct arena *arena;
    struct span text;               /* the manifest, byte for byte */
    char digest[OLLAMA_DIGEST_MAX]; /* its own: "sha256:…" */
    struct ollama_manifest manifest;
};

/* The manifest of the tag; with `digest` ("sha256:…", NULL: none) that one, wherever the tag points now. ERR_NOTFOUND,
 * ERR_DENIED, ERR_CORRUPT, and those of http_call(). Blocks. */
int ollama_resolve(struct ollama *o, const char *digest, struct ollama_resolution **out, struct err *err);
void ollama_resolution_free(struct ollama_resolution *r);

/* ---- feeding xfer ---- */

/* A source over one blob, whose facts are copied. Owned by the caller until `done`; the client must outlive it. */
struct ollama_fetch;
int ollama_fetch_new(struct ollama_fetch **out, struct ollama *o, const struct ollama_blob *blob, struct err *err);
void ollama_fetch_free(struct ollama_fetch *f);
extern const struct xfer_source ollama_xfer_source; /* source_ctx: struct ollama_fetch * */

#endif
