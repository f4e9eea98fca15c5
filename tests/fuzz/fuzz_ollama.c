/* Registries' words: manifests, names of models and challenges. What is taken has digests, sizes and names that cannot
 * leave a folder or a URL. */
#include "base/path.h"
#include "ollama/challenge.h"
#include "ollama/ollama.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_manifest(struct arena *a, struct span text)
{
    struct ollama_manifest m;
    struct err err = ERR_INIT;
    if (ollama_manifest_parse(a, text, &m, &err) < 0) {
        must(err_is_set(&err));
        return;
    }
    uint64_t total = 0;
    must(m.blob_count > 0 && m.blob_count <= OLLAMA_BLOBS_MAX);
    for (size_t i = 0; i < m.blob_count; i++) {
        must(m.blobs[i].digest.kind == DIGEST_SHA256 && m.blobs[i].size <= INT64_MAX);
        must(i == 0 || memcmp(m.blobs[i - 1].digest.bytes, m.blobs[i].digest.bytes, 32) < 0);
        total += m.blobs[i].size;
    }
    must(total == m.total_bytes);
}

static void check_ref(struct span text)
{
    struct ollama_ref ref, again;
    struct err err = ERR_INIT;
    if (ollama_ref_parse(&ref, text, &err) < 0)
        return;
    AUTO_BUF whole;
    AUTO_BUF path;
    buf_init(&whole, 4096);
    buf_init(&path, 4096);
    ollama_ref_write(&ref, &whole);
    must(ollama_ref_parse(&again, buf_span(&whole), &err) == 0 && memcmp(&ref.tag, &again.tag, strlen(ref.tag)) == 0);
    buf_addf(&path, "manifests/%s/%s/%s/%s", ref.host, ref.space, ref.name, ref.tag);
    must(path_check_relative(buf_span(&path), &err) == 0);
    must(strcspn(buf_str(&whole), "?#@% \\\"\r\n") == whole.n);
}

static void check_challenge(struct arena *a, struct span text)
{
    struct challenge c;
    struct err err = ERR_INIT;
    AUTO_BUF url;
    buf_init(&url, 1 << 16);
    if (challenge_parse(a, text, &c, &err) == 0 && challenge_token_url(&c, "scope", &url, &err) == 0)
        must(strstr(buf_str(&url), "scope=") && c.scheme[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct span text = {(const char *)data, size};
    struct arena *a = arena_new(0, &err);
    if (!a)
        return 0;
    check_manifest(a, text);
    check_ref(text);
    check_challenge(a, text);
    arena_free(a);
    return 0;
}
