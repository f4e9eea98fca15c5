#include "engine/image_ref.h"

#include <ctype.h>
#include <stdio.h>

#define TAG_MAX       128
#define SHA256_HEX    64
#define SHA256_PREFIX "sha256:"
#define HUB_NAMESPACE "library/"
#define LATEST        "latest"

static int bad(struct err *err, struct span text, const char *why)
{
    err_set(err, ERR_INVALID, "image \"%.*s\": %s", SPAN_FMT(text), why);
    return err_hint(err, "an image is written [registry/]name[:tag][@sha256:…], in lower case");
}

static bool all(struct span s, bool (*ok)(char c))
{
    for (size_t i = 0; i < s.n; i++)
        if (!ok(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_repository_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static bool is_tag_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static bool is_registry_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
}

static bool is_sha256(struct span s)
{
    return span_starts(s, SPAN_LIT(SHA256_PREFIX)) && s.n == sizeof SHA256_PREFIX - 1 + SHA256_HEX &&
           all((struct span){s.p + sizeof SHA256_PREFIX - 1, SHA256_HEX}, is_hex);
}

static bool copy(char *out, size_t max, struct span s)
{
    return snprintf(out, max, "%.*s", SPAN_FMT(s)) < (int)max;
}

/* "repository[:tag]" → both. */
static bool split_tag(struct span *name, struct span *tag)
{
    const char *colon = memrchr(name->p, ':', name->n), *slash = memrchr(name->p, '/', name->n);
    *tag = (struct span){NULL, 0};
    if (!colon || (slash && slash > colon))
        return false;
    *tag = (struct span){colon + 1, (size_t)(name->p + name->n - colon) - 1};
    name->n = (size_t)(colon - name->p);
    return true;
}

static bool names_registry(struct span first)
{
    return memchr(first.p, '.', first.n) || memchr(first.p, ':', first.n) || span_eq(first, SPAN_LIT("localhost"));
}

static bool repository_ok(struct span s)
{
    struct span part;
    bool more;
    do {
        more = span_cut(s, '/', &part, &s);
        if (!all(part, is_repository_char) || part.p[0] == '.' || part.p[0] == '-' || part.p[0] == '_')
            return false;
    } while (more);
    return true;
}

static int parse_name(struct image_ref *out, struct span name, struct span text, struct err *err)
{
    struct span registry = SPAN_LIT(DOCKER_HUB), first, rest;
    bool on_hub = true;
    if (span_cut(name, '/', &first, &rest) && names_registry(first)) {
        on_hub = span_eq(first, SPAN_LIT(DOCKER_HUB)) || span_eq(first, SPAN_LIT("index.docker.io"));
        registry = on_hub ? registry : first;
        name = rest;
    }
    if (!all(registry, is_registry_char) || registry.p[0] == '.' || registry.p[0] == '-' ||
        !copy(out->registry, sizeof out->registry, registry))
        return bad(err, text, "its registry is not a host name");
    if (!repository_ok(name))
        return bad(err, text, "its name has an empty part or a character that names can't have");
    bool in_library = on_hub && !memchr(name.p, '/', name.n);
    int n =
        snprintf(out->repository, sizeof out->repository, "%s%.*s", in_library ? HUB_NAMESPACE : "", SPAN_FMT(name));
    return n < (int)sizeof out->repository ? 0 : bad(err, text, "its name is too long");
}

int image_ref_parse(struct image_ref *out, struct span text, struct err *err)
{
    struct span name, digest, tag;
    *out = (struct image_ref){.is_id = is_sha256(text)};
    if (text.n == 0 || text.n > IMAGE_REF_MAX)
        return err_set(err, ERR_INVALID, "the image's name is %s", text.n ? "too long" : "empty");
    if (out->is_id)
        return copy(out->digest, sizeof out->digest, text) ? 0 : bad(err, text, "its digest is too long");
    bool has_digest = span_cut(text, '@', &name, &digest);
    if (has_digest && (!is_sha256(digest) || !copy(out->digest, sizeof out->digest, digest)))
        return bad(err, text, "its digest is not sha256: and 64 hex digits");
    bool has_tag = split_tag(&name, &tag);
    if (has_tag && (tag.n > TAG_MAX || !all(tag, is_tag_char) || tag.p[0] == '.' || tag.p[0] == '-'))
        return bad(err, text, "its tag is not one");
    if (!has_tag && !has_digest)
        tag = SPAN_LIT(LATEST);
    copy(out->tag, sizeof out->tag, tag);
    return parse_name(out, name, text, err);
}

void image_ref_write(const struct image_ref *ref, struct buf *out)
{
    if (ref->is_id) {
        buf_adds(out, ref->digest);
        return;
    }
    buf_addf(out, "%s/%s", ref->registry, ref->repository);
    if (ref->digest[0])
        buf_addf(out, "@%s", ref->digest);
    else
        buf_addf(out, ":%s", ref->tag);
}
