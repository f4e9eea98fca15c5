/* What an input resolved to, for the run record. */
#include "stage/stage_priv.h"

/* Every file with its version, size and, where it is known, SHA-256; the first STAGE_RECORD_OBJECTS of them. */
static int add_objects(const struct stage_input *in, json_t *into, struct err *err)
{
    struct source *src = in->source;
    AUTO_JSON list = json_array();
    if (!list)
        return err_nomem(err);
    for (size_t i = 0; i < src->file_count && i < STAGE_RECORD_OBJECTS; i++) {
        struct source_file f;
        src->ops->file(src, i, &f);
        json_t *one = json_object();
        int rc = json_put_str(one, "path", f.name ? f.name : f.path, err);
        if (rc == 0)
            rc = json_put_str(one, "location", f.location, err);
        if (rc == 0 && f.version)
            rc = json_put_str(one, "version", f.version, err);
        if (rc == 0 && f.size != XFER_SIZE_UNKNOWN)
            rc = json_put_u64(one, "size", f.size, err);
        if (rc == 0 && in->own.blobs && in->own.blobs[i].id[0] != 'r' && in->own.blobs[i].id[0] != '\0')
            rc = json_put_str(one, "sha256", in->own.blobs[i].id, err);
        if (rc < 0 || json_array_append_new(list, one) < 0) {
            if (rc < 0)
                json_decref(one);
            return err_nomem(err);
        }
    }
    return json_put(into, "objects", json_incref(list), err);
}

static int add_figures(const struct stage_input *in, json_t *into, struct err *err)
{
    struct stage_progress p;
    stage_progress(in->stage, in->index, &p);
    if (json_put_u64(into, "files", p.files_total, err) < 0 || json_put_u64(into, "bytes", p.bytes_total, err) < 0 ||
        json_put_u64(into, "files_cached", p.files_cached, err) < 0 ||
        json_put_u64(into, "bytes_cached", p.bytes_cached, err) < 0 ||
        json_put_u64(into, "bytes_received", p.bytes_wire, err) < 0 ||
        json_put_u64(into, "bytes_from_peers", p.bytes_from_peers, err) < 0 ||
        json_put_u64(into, "files_from_peers", p.files_from_peers, err) < 0 ||
        json_put_u64(into, "peers_failed", p.peers_failed, err) < 0 ||
        json_put_u64(into, "requests", p.requests, err) < 0 || json_put_u64(into, "retries", p.retries, err) < 0 ||
        json_put_u64(into, "files_verified_by_digest", in->own.verified, err) < 0 ||
        json_put_u64(into, "files_verified_by_size", in->own.by_size, err) < 0 ||
        json_put_u64(into, "resolve_ms", p.resolve_ms, err) < 0)
        return -1;
    return json_put_u64(into, "fetch_ms", p.fetch_ms, err);
}

json_t *stage_record(const struct stage *s, size_t input, struct err *err)
{
    const struct stage_input *in = &s->in[input];
    const struct input *decl = &s->inputs[input];
    AUTO_JSON record = json_object();
    if (!record) {
        err_nomem(err);
        return NULL;
    }
    if (json_put_str(record, "at", decl->at, err) < 0 ||
        json_put_str(record, "source", in->source->ops->name, err) < 0 ||
        (decl->alias && json_put_str(record, "alias", decl->alias, err) < 0) ||
        (decl->target && json_put_str(record, "target", decl->target, err) < 0) ||
        json_put(record, "writable", json_boolean(decl->writable), err) < 0 ||
        (in->own.writable && json_put_str(record, "writable_by", writable_word(in->own.writable), err) < 0) ||
        in->source->ops->describe(in->source, record, err) < 0 ||
        (in->own.snapshot[0] && json_put_str(record, "snapshot", in->own.snapshot, err) < 0) ||
        (in->own.stale && json_put(record, "stale", json_true(), err) < 0) || add_figures(in, record, err) < 0 ||
        add_objects(in, record, err) < 0)
        return NULL;
    return json_incref(record);
}
