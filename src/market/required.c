/* What every node of a market must hold: a public form without secrets, built from what was understood, and a sealed
 * one for nodes. */
#include "market/market_priv.h"
#include "spec/spec.h"

#define REQUIRED_MAX SPEC_FILE_MAX

/* ---- The public form: the shape of the document, member by member, so that no secret can slip through. */

static void put_given(json_t *o, const char *key, const char *value, struct err *err)
{
    if (value)
        json_put_str(o, key, value, err);
}

static json_t *strings(const struct job_strs *strs, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < strs->n; i++)
        append(list, json_string(strs->v[i]), err);
    return list;
}

static void put_files(json_t *o, const struct job_strs *files, struct err *err)
{
    if (files->n)
        json_put(o, "files", strings(files, err), err);
}

static void put_s3_place(json_t *o, const struct source_s3 *s, struct err *err)
{
    struct span place, query;
    if (s->url) { /* a query may be a signature */
        span_cut(span_of(s->url), '?', &place, &query);
        json_put(o, "url", json_stringn(place.p, place.n), err);
        return;
    }
    AUTO_STR url = str_printf(err, "s3://%s/%s", s->bucket ? s->bucket : "", s->key ? s->key : "");
    json_put_str(o, "url", url, err);
}

static json_t *public_input(const struct input *in, struct err *err)
{
    json_t *o = json_object();
    switch (in->kind) {
    case SOURCE_S3:
        json_put_str(o, "type", "S3", err);
        put_s3_place(o, &in->s3, err);
        put_given(o, "bucket", in->s3.bucket, err);
        put_files(o, &in->s3.files, err);
        break;
    case SOURCE_HF:
        json_put_str(o, "type", "HF", err);
        json_put_str(o, "repo", in->hf.repo, err);
        put_given(o, "revision", in->hf.revision, err);
        put_files(o, &in->hf.files, err);
        break;
    case SOURCE_OLLAMA:
        json_put_str(o, "type", "Ollama", err);
        json_put_str(o, "model", in->ollama.model, err);
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
    case SOURCE_LOCAL:
        err_set(err, ERR_UNSUPPORTED, "a required resource is of a kind that markets do not hold");
        break;
    }
    return o;
}

static json_t *public_form(const struct required_resources *r, struct err *err)
{
    json_t *o = json_object(), *list = json_array();
    json_put(o, "required_images", strings(&r->images, err), err);
    for (size_t i = 0; i < r->input_count; i++)
        append(list, public_input(&r->inputs[i], err), err);
    json_put(o, "required_remote_resources", list, err);
    return o;
}

/* ---- The nodes' form: inputs as a run record has them, with the secrets beside. */

static json_t *node_form(const struct required_resources *r, struct err *err)
{
    struct op op = {.id = "required", .image = "", .inputs = r->inputs, .input_count = r->input_count};
    const struct job job = {.name = "required", .type = "container", .count = 1, .ops = &op, .op_count = 1};
    AUTO_JSON whole = spec_to_json(&job, err);
    if (!whole)
        return NULL;
    json_t *o = json_object(), *ops = json_object_get(whole, "ops");
    json_t *inputs = json_object_get(json_array_get(ops, 0), "inputs");
    json_put(o, "images", strings(&r->images, err), err);
    json_put(o, "resources", inputs ? json_incref(inputs) : json_array(), err);
    json_put(o, "variables", job_secrets(&job, whole, err), err);
    return o;
}

static int store(struct market *m, const char *address, const char *shown, struct span sealed, struct err *err)
{
    if (market_begin(m, err) < 0)
        return -1;
    struct query q = query_on(m,
                              "UPDATE markets SET required_version = required_version + 1, required_public = $2,"
                              " required_sealed = $3 WHERE address = $1",
                              err);
    query_text(&q, address);
    query_text(&q, shown);
    query_blob(&q, sealed);
    int rc = query_run(&q);
    if (rc == 0 && db_changes(m->db) == 0)
        rc = err_set(err, ERR_NOTFOUND, "no market '%.64s'", address);
    if (rc == 0) { /* until they say that they hold what is required now */
        q = query_on(m, "UPDATE nodes SET ready = 0 WHERE market = $1", err);
        query_text(&q, address);
        rc = query_run(&q);
    }
    market_changed(m, address, true);
    return market_end(m, rc, err);
}

static int keep_required(struct market *m, const char *address, const struct required_resources *r, json_t **shown,
                         struct err *err)
{
    struct buf sealed;
    AUTO_STR text = NULL;
    json_t *full = node_form(r, err);
    buf_init(&sealed, REQUIRED_MAX * 2);
    int rc = -1;
    *shown = public_form(r, err);
    if (!err_is_set(err) && full && json_text(*shown, REQUIRED_MAX, "required resources", &text, err) == 0 &&
        seal_json(m, full, address, "required", &sealed, err) == 0)
        rc = store(m, address, text, buf_span(&sealed), err);
    buf_release(&sealed);
    market_secrets_free(full);
    return rc;
}

int market_required_put(struct market *m, const struct market_caller *c, const char *address, struct span document,
                        json_t **out, struct err *err)
{
    struct required_resources *r = NULL;
    const struct spec_opts opts = {.file = "required-resources"};
    AUTO_JSON shown = NULL;
    if (need_operator(c, err) < 0 || check_address("market", address, err) < 0 ||
        spec_parse_required(document, &opts, &r, err) < 0)
        return -1;
    int rc = keep_required(m, address, r, &shown, err);
    required_resources_free(r);
    return rc < 0 ? -1 : give(out, &shown, err);
}

int market_required_get(struct market *m, const char *address, json_t **out, struct err *err)
{
    struct query q = query_on(m, "SELECT required_public FROM markets WHERE address = $1", err);
    query_text(&q, address);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOTFOUND, "no market '%.64s'", address);
    struct span text = db_col_text(q.s, 0);
    AUTO_JSON shown =
        json_parse(text.p ? text : SPAN_LIT("{\"required_images\":[],\"required_remote_resources\":[]}"), err);
    query_done(&q);
    return give(out, &shown, err);
}

static json_t *required_of(struct market *m, const char *address, struct err *err)
{
    struct query q = query_on(m, "SELECT required_version, required_sealed FROM markets WHERE address = $1", err);
    query_text(&q, address);
    int rc = query_next(&q);
    if (rc <= 0) {
        if (rc == 0)
            err_set(err, ERR_NOTFOUND, "no market '%.64s'", address);
        return NULL;
    }
    struct span sealed = db_col_text(q.s, 1);
    json_t *o = sealed.p ? unseal_json(m, sealed, address, "required", err) : json_object();
    if (!sealed.p) {
        json_put(o, "images", json_array(), err);
        json_put(o, "resources", json_array(), err);
        json_put(o, "variables", json_object(), err);
    }
    if (o)
        put_i64(o, "required_version", query_get(&q, 0), err);
    query_done(&q);
    return o;
}

int node_approved_market(struct market *m, const struct market_caller *c, char address[MARKET_ADDRESS_MAX],
                         struct err *err)
{
    if (need_node(c, err) < 0)
        return -1;
    struct query q = query_on(m, "SELECT market FROM nodes WHERE id = $1 AND state IN ('approved', 'draining')", err);
    query_text(&q, c->node);
    int rc = query_next(&q);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_DENIED, "the node is not approved");
    query_copy(&q, 0, address, MARKET_ADDRESS_MAX);
    query_done(&q);
    return 0;
}

int market_node_required(struct market *m, const struct market_caller *c, json_t **out, struct err *err)
{
    char address[MARKET_ADDRESS_MAX];
    if (node_approved_market(m, c, address, err) < 0)
        return -1;
    json_t *o = required_of(m, address, err);
    if (o && give(out, &o, err) == 0 && out)
        return 0;
    market_secrets_free(o);
    return err_is_set(err) ? -1 : 0;
}
