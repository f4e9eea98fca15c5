#include "base/json.h"
#include "ollama/ollama.h"

#include <stdlib.h>

#define SHOWN_MAX    100
#define MODEL_TYPE   "application/vnd.ollama.image.model"
#define DIGEST_START "sha256:"

static int read_blob(const json_t *value, const char *what, struct ollama_blob *out, struct err *err)
{
    const char *digest = json_get_str(value, "digest");
    int64_t size;
    struct err odd = ERR_INIT;
    if (!digest || strncmp(digest, DIGEST_START, strlen(DIGEST_START)) != 0 ||
        strlen(digest) != OLLAMA_DIGEST_MAX - 1 ||
        digest_parse(DIGEST_SHA256, span_of(digest + strlen(DIGEST_START)), &out->digest, &odd) < 0)
        return err_set(err, ERR_PROTOCOL, "its %s has no SHA-256 digest ('%.*s')", what, SHOWN_MAX,
                       digest ? digest : "");
    if (!json_get_i64(value, "size", &size) || size < 0)
        return err_set(err, ERR_PROTOCOL, "its %s has no size", what);
    out->size = (uint64_t)size;
    return 0;
}

static int by_digest(const void *a, const void *b)
{
    const struct ollama_blob *x = a, *y = b;
    return memcmp(x->digest.bytes, y->digest.bytes, digest_size(DIGEST_SHA256));
}

/* Layers of one model may be the same file; it is fetched once. */
static int sort_and_count(struct ollama_blob *blobs, size_t n, struct ollama_manifest *out, struct err *err)
{
    size_t kept = 0;
    qsort(blobs, n, sizeof *blobs, by_digest);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && by_digest(&blobs[i], &blobs[kept - 1]) == 0) {
            if (blobs[i].size != blobs[kept - 1].size)
                return err_set(err, ERR_PROTOCOL, "it gives one blob two sizes");
            continue;
        }
        if (__builtin_add_overflow(out->total_bytes, blobs[i].size, &out->total_bytes))
            return err_set(err, ERR_PROTOCOL, "the sizes of its blobs overflow");
        blobs[kept++] = blobs[i];
    }
    out->blobs = blobs;
    out->blob_count = kept;
    return 0;
}

static int check_kind(const json_t *root, struct err *err)
{
    int64_t version;
    if (!json_is_object(root) || !json_get_i64(root, "schemaVersion", &version) || version != 2)
        return err_set(err, ERR_PROTOCOL, "it is no manifest of schema version 2");
    if (json_object_get(root, "manifests"))
        return err_set(err, ERR_INVALID, "it is an index of images, not a model");
    if (!json_is_object(json_object_get(root, "config")) || !json_is_array(json_object_get(root, "layers")))
        return err_set(err, ERR_PROTOCOL, "it has no config or no layers");
    return 0;
}

static int read_layers(const json_t *layers, struct ollama_blob *out, struct err *err)
{
    bool model = false;
    const json_t *layer;
    size_t i;
    json_array_foreach(layers, i, layer)
    {
        const char *type = json_get_str(layer, "mediaType");
        model |= str_eq(type, MODEL_TYPE);
        if (read_blob(layer, "layer", &out[i], err) < 0)
            return -1;
    }
    if (model)
        return 0;
    err_set(err, ERR_INVALID, "it has no layer of the type " MODEL_TYPE ": it is not an Ollama model");
    return err_hint(err, "container images are not inputs: name one as the job's image");
}

int ollama_manifest_parse(struct arena *a, struct span text, struct ollama_manifest *out, struct err *err)
{
    struct err why = ERR_INIT;
    *out = (struct ollama_manifest){0};
    AUTO_JSON root = json_parse(text, &why);
    if (!root)
        return err_set(err, why.kind == ERR_NOMEM ? ERR_NOMEM : ERR_PROTOCOL, "it is no JSON: %s", why.text);
    if (check_kind(root, err) < 0)
        return -1;
    const json_t *layers = json_object_get(root, "layers");
    size_t n = json_array_size(layers);
    if (n >= OLLAMA_BLOBS_MAX)
        return err_set(err, ERR_LIMIT, "it has %zu layers, more than %d", n, OLLAMA_BLOBS_MAX - 1);
    struct ollama_blob *blobs = arena_array(a, n + 1, sizeof *blobs);
    if (!blobs)
        return err_nomem(err);
    if (read_layers(layers, blobs, err) < 0 || read_blob(json_object_get(root, "config"), "config", &blobs[n], err) < 0)
        return -1;
    return sort_and_count(blobs, n + 1, out, err);
}
