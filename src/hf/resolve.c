/* From what a source says to the files it means now. */
#include "base/log.h"
#include "hf/fault.h"
#include "hf/hf_priv.h"
#include "hf/link.h"

#define RESULT_ARENA_MAX   ((size_t)512 << 20)
#define DESCRIPTION_MAX    ((size_t)32 << 20) /* it names all files, too */
#define TREE_PAGE_MAX      ((size_t)16 << 20)
#define TREE_PAGES_MAX     100000
#define WARNINGS_MAX       4
#define FILES_ROOM_INITIAL 1024

struct resolving {
    struct hf *hf;
    struct hf_resolution *r;
    const char *revision;
    struct hf_file *files; /* grows; at last the resolution's */
    size_t n, room;
};

static int warn(struct resolving *v, const char *text, struct err *err)
{
    struct hf_resolution *r = v->r;
    if (!r->warnings)
        r->warnings = arena_array(r->arena, WARNINGS_MAX, sizeof *r->warnings);
    if (r->warnings && text && r->warning_count < WARNINGS_MAX)
        r->warnings[r->warning_count++] = text;
    return arena_check(r->arena, err);
}

static const char *repo_now(struct resolving *v)
{
    return arena_printf(v->r->arena, "%s%s", hf_kind_prefix(v->hf->kind), v->hf->name);
}

static int refuse(struct resolving *v, const struct http_response *resp, const char *revision, struct err *err)
{
    struct hf_fault f;
    const struct hf_fault_context c = {
        .endpoint = v->hf->endpoint,
        .repo = v->hf->src->repo,
        .revision = revision,
        .token = hf_token_describe(v->hf->token),
        .anonymous = hf_token_anonymous(v->hf->token),
    };
    hf_fault_read(resp, &f);
    return hf_fault_report(&f, &c, err);
}

/* ---- revision → commit ---- */

/* The hub answers for a renamed repository by a redirect to its new name. */
static int take_name(struct resolving *v, const char *asked, const char *answered, struct err *err)
{
    char old[HF_NAME_MAX];
    memcpy(old, v->hf->name, sizeof old);
    if (!hf_renamed(asked, answered, v->hf->kind, v->hf->name))
        return 0;
    return warn(v,
                arena_printf(v->r->arena, "the repository '%s' is now called '%s': change the job to the new name", old,
                             v->hf->name),
                err);
}

static int find_commit(struct resolving *v, struct err *err)
{
    AUTO_BUF url;
    struct http_response resp;
    buf_init(&url, HF_URL_MAX);
    hf_api_url(v->hf, "revision", v->revision, &url);
    const struct hf_ask ask = {.method = "GET", .url = buf_str(&url), .body_max = DESCRIPTION_MAX};
    if (buf_check(&url, "URL", err) < 0 || hf_exchange(v->hf, &ask, &resp, err) < 0)
        return -1;
    int rc;
    if (resp.status != 200)
        rc = refuse(v, &resp, v->revision, err);
    else if ((rc = hf_read_commit(v->r->arena, buf_span(&resp.body), &v->r->commit, err)) == 0)
        rc = take_name(v, ask.url, resp.effective_url, err);
    http_response_release(&resp);
    return rc;
}

/* ---- commit → tree ---- */

static int add_file(void *ctx, const struct hf_file *f, struct err *err)
{
    struct resolving *v = ctx;
    if (v->n == HF_FILES_MAX)
        return err_set(err, ERR_LIMIT, "the repository holds more than %d files", HF_FILES_MAX);
    if (v->n == v->room) {
        size_t room = v->room * 2;
        struct hf_file *bigger = reallocarray(v->files, room, sizeof *bigger);
        if (!bigger)
            return err_nomem(err);
        v->files = bigger;
        v->room = room;
    }
    v->files[v->n++] = *f;
    return 0;
}

/* The query of the next page. Its address is known, so only the query of what the hub links to counts: a link can't
 * lead the token to another host. false: this was the last page. */
static bool next_query(const struct http_response *resp, struct span *query)
{
    for (size_t i = 0; i < resp->header_count; i++) {
        struct span target, head;
        if (strcmp(resp->headers[i].name, "link") == 0 && hf_link_next(span_of(resp->headers[i].value), &target) &&
            span_cut(target, '?', &head, query))
            return true;
    }
    return false;
}

/* Any cycle of pages is met: one earlier query is kept, and replaced at doubling distances (Brent). */
struct page_watch {
    struct buf kept;
    size_t until;
};

static int watch_page(struct page_watch *w, size_t page, struct span query, struct err *err)
{
    if (page > 0 && span_eq(buf_span(&w->kept), query))
        return err_set(err, ERR_PROTOCOL, "the hub links to a page of the tree again: the listing would never end");
    if (page < w->until)
        return 0;
    w->until = page * 2 + 1;
    buf_reset(&w->kept);
    buf_add_span(&w->kept, query);
    return buf_check(&w->kept, "link to the next page", err);
}

/* One page into v->files; `query` becomes that of the next, empty after the last. */
static int take_page(struct resolving *v, struct buf *query, struct err *err)
{
    AUTO_BUF url;
    struct http_response resp;
    struct span next = {0};
    buf_init(&url, HF_URL_MAX);
    hf_api_url(v->hf, "tree", v->r->commit, &url);
    buf_addc(&url, '?');
    buf_add_span(&url, buf_span(query));
    const struct hf_ask ask = {.method = "GET", .url = buf_str(&url), .body_max = TREE_PAGE_MAX};
    if (buf_check(&url, "URL", err) < 0 || hf_exchange(v->hf, &ask, &resp, err) < 0)
        return -1;
    int rc;
    if (resp.status != 200)
        rc = refuse(v, &resp, v->r->commit, err);
    else if ((rc = hf_check_answer(&resp, v->r->commit, NULL, err)) == 0)
        rc = hf_read_tree(v->r->arena, buf_span(&resp.body), add_file, v, err);
    buf_reset(query);
    if (rc == 0 && next_query(&resp, &next))
        buf_add_span(query, next);
    http_response_release(&resp);
    return rc < 0 ? -1 : buf_check(query, "link to the next page", err);
}

static int list_tree(struct resolving *v, struct err *err)
{
    AUTO_BUF query;
    struct page_watch watch = {.until = 0};
    buf_init(&query, HF_URL_MAX);
    buf_init(&watch.kept, HF_URL_MAX);
    buf_adds(&query, "recursive=true&expand=false");
    int rc = buf_check(&query, "query of a tree", err);
    for (size_t page = 0; rc == 0 && query.n > 0; page++) {
        if (page == TREE_PAGES_MAX)
            rc = err_set(err, ERR_LIMIT, "a tree of more than %d pages", TREE_PAGES_MAX);
        else if ((rc = cancel_check(v->hf->cancel, err)) == 0 &&
                 (rc = watch_page(&watch, page, buf_span(&query), err)) == 0)
            rc = take_page(v, &query, err);
    }
    buf_release(&watch.kept);
    return rc;
}

/* ---- the files that are meant ---- */

static int pick(struct resolving *v, struct err *err)
{
    struct hf_resolution *r = v->r;
    bool *chosen = calloc(v->room, sizeof *chosen);
    if (!chosen)
        return err_nomem(err);
    int rc = hf_put_in_order(v->files, v->n, err);
    if (rc == 0)
        rc = hf_select(v->files, v->n, &v->hf->src->files, v->hf->cancel, chosen, err);
    for (size_t i = 0; i < v->n && rc == 0; i++) {
        if (!chosen[i])
            continue;
        v->files[r->file_count++] = v->files[i];
        if (__builtin_add_overflow(r->total_bytes, v->files[i].size, &r->total_bytes))
            r->total_bytes = UINT64_MAX;
    }
    free(chosen);
    if (rc < 0 || hf_check_paths(v->files, r->file_count, err) < 0)
        return err_wrap(err, "%s", v->hf->src->repo);
    if (r->file_count == 0)
        return warn(v, "the repository holds no files at this revision: the folder is empty", err);
    return 0;
}

static int resolve(struct resolving *v, struct err *err)
{
    struct hf_resolution *r = v->r;
    r->arena = arena_new(RESULT_ARENA_MAX, err);
    if (!r->arena)
        return -1;
    if (v->hf->plain_http && warn(v, "plain http: others may read the token and change what is moved", err) < 0)
        return -1;
    if (find_commit(v, err) < 0 || list_tree(v, err) < 0 || pick(v, err) < 0)
        return -1;
    r->repo = repo_now(v);
    return hf_lay_out(v->hf, r, v->files, err);
}

int hf_resolve(struct hf *hf, const char *revision, struct hf_resolution **out, struct err *err)
{
    const char *own = hf->src->revision ? hf->src->revision : "main";
    struct resolving v = {.hf = hf, .revision = revision ? revision : own, .room = FILES_ROOM_INITIAL};
    v.r = calloc(1, sizeof *v.r);
    if (!v.r)
        return err_nomem(err);
    v.files = calloc(v.room, sizeof *v.files);
    int rc = v.files ? resolve(&v, err) : err_nomem(err);
    v.r->files = v.files; /* also on failure: freed with the resolution */
    if (rc < 0) {
        hf_resolution_free(v.r);
        return -1;
    }
    log_debug("hf", "resolved (repo=%s revision=%s commit=%s files=%zu)", v.r->repo, v.revision, v.r->commit,
              v.r->file_count);
    *out = v.r;
    return 0;
}

void hf_resolution_free(struct hf_resolution *r)
{
    if (!r)
        return;
    free((void *)r->files);
    arena_free(r->arena);
    free(r);
}
