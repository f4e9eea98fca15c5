/* What a client posts as a job. Whatever the body: the answer is a job, or a refusal with words; never a failure of the
 * server, and never a credential of the body in it. A job that was taken is kept whole: definition and secrets, put
 * together as a node does it, are that job again; and no text of the database holds a secret of it. */
#include "httpd/httpd_priv.h"
#include "market/market_priv.h"
#include "server/server_priv.h"
#include "spec/spec.h"
#include "spec/value.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define MARKET     "m"
#define QUEUE_MAX  20 /* a job of thousands of executions is refused, and takes no time */
#define TEXT_MAX   ((size_t)64 << 20)
#define SECRET     "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ=" /* 32 bytes, as some of them must be */
#define SECRET_URL "https://h/o?X-Amz-Signature=" SECRET

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* ---- a server without a listener, on a database without a name ---- */

static struct server server;
static struct market *market;
static struct route_about post_about;
static struct httpd_route post_route = {.about = &post_about};

static void make_market(void)
{
    const struct market_caller manager = {.role = MARKET_OPERATOR};
    struct market_settings settings = MARKET_SETTINGS_KEEP;
    struct err err = ERR_INIT;
    settings.max_queued = QUEUE_MAX;
    require(market_put(market, &manager, MARKET, &settings, NULL, NULL, &err) == 0);
}

static void set_up(void)
{
    static const char *const files[] = {"db", "db-wal", "db-shm", "keys"};
    struct err err = ERR_INIT;
    char dir[] = "/tmp/berth-fuzz-XXXXXX", url[64], path[64];
    require(mkdtemp(dir) != NULL);
    snprintf(url, sizeof url, "sqlite:%s/db", dir);
    snprintf(path, sizeof path, "%s/keys", dir);
    require(seal_keys_open(&server.keys, path, true, &err) == 0);
    const struct market_opts opts = {.db_url = url, .keys = server.keys};
    require(market_open(&market, &opts, &err) == 0);
    make_market();
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    pthread_mutex_init(&server.idle.mu, NULL);
    pthread_cond_init(&server.idle.given, NULL);
    rate_init(&server.rate, UINT_MAX);
    for (const struct route_about *r = routes_jobs; r->method; r++)
        if (str_eq(r->method, "POST"))
            post_about = *r;
    require(post_about.run != NULL);
    post_about.roles = 0; /* there is no connection whose headers could hold a token */
}

static void forget_jobs(void)
{
    struct err err = ERR_INIT;
    require(db_exec(market->db, "DELETE FROM jobs", &err) == 0);
}

/* ---- the answer ---- */

static void check_answer(int status, struct span text)
{
    struct err err = ERR_INIT;
    AUTO_JSON answer = json_parse(text, &err);
    require(answer && !memmem(text.p, text.n, SECRET, sizeof SECRET - 1));
    if (status == 200 || status == 201) {
        require(json_get_str(json_object_get(answer, "job"), "id"));
        return;
    }
    require(status >= 400 && status < 500);
    const char *message = json_get_str(json_object_get(answer, "error"), "message");
    require(message && message[0]);
}

static void check_request(struct span body)
{
    struct httpd_request req = {.method = "POST", .match = {.route = &post_route}};
    struct httpd_response resp = {.status = 200};
    buf_init(&req.body, TEXT_MAX);
    buf_init(&resp.body, TEXT_MAX);
    buf_add_span(&req.body, body);
    server.idle.v[0] = market;
    server.idle.n = 1;
    require(server_handle(&server, &req, &resp) == HTTPD_DONE);
    require(server.idle.n == 1 && server.idle.out == 0); /* given back, and of more use */
    check_answer(resp.status, buf_span(&resp.body));
    buf_release(&req.body);
    buf_release(&resp.body);
    forget_jobs();
}

/* ---- the job's own secrets ---- */

typedef void on_secret(const char **slot, const char *expected);

static void plant_secret(const char **slot, const char *value)
{
    if (*slot)
        *slot = value;
}

static void find_secret(const char **slot, const char *expected)
{
    require(!*slot || str_eq(*slot, expected));
}

static void each_of_input(struct input *in, on_secret *each)
{
    switch (in->kind) {
    case SOURCE_S3:
        if (in->s3.url && value_url_is_signed(in->s3.url))
            each(&in->s3.url, SECRET_URL);
        each(&in->s3.access_key_id, SECRET);
        each(&in->s3.secret_access_key, SECRET);
        each(&in->s3.session_token, SECRET);
        each(&in->s3.sse_customer_key, SECRET);
        break;
    case SOURCE_HF:
        each(&in->hf.access_token, SECRET);
        break;
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        if (in->url.presigned)
            each(&in->url.url, SECRET_URL);
        break;
    case SOURCE_OLLAMA:
    case SOURCE_LOCAL:
        break;
    }
}

static void each_secret(struct job *job, on_secret *each)
{
    each(&job->publisher.sse_customer_key, SECRET);
    for (size_t o = 0; o < job->op_count; o++) {
        struct op *op = &job->ops[o];
        each(&op->auth.password, SECRET);
        for (size_t i = 0; i < op->env.n; i++)
            if (op->env.v[i].secret)
                each(&op->env.v[i].value, SECRET);
        for (size_t i = 0; i < op->input_count; i++)
            each_of_input(&op->inputs[i], each);
    }
}

/* ---- what is kept ---- */

static void check_stored(void)
{
    struct err err = ERR_INIT;
    struct query q =
        query_on(market, "SELECT name, labels, needs, definition, shown, secrets, credentials FROM jobs", &err);
    require(query_next(&q) == 1);
    for (int col = 0; col < 7; col++) {
        struct span text = db_col_text(q.s, col);
        require(!text.p || !memmem(text.p, text.n, SECRET, sizeof SECRET - 1));
    }
    query_done(&q);
}

static struct job *job_again(const json_t *kept)
{
    struct err err = ERR_INIT;
    struct strv vars = {0};
    struct job *job = NULL;
    const char *name;
    json_t *value;
    AUTO_BUF text;
    buf_init(&text, TEXT_MAX);
    json_object_foreach(json_object_get(kept, "variables"), name, value)
        require(strv_addf(&vars, &err, "%s=%s", name, json_string_value(value)) == 0);
    const struct spec_opts opts = {.file = "kept", .vars = (const char *const *)vars.v};
    require(json_write(json_object_get(kept, "definition"), false, &text, &err) == 0);
    require(spec_parse(buf_span(&text), &opts, &job, &err) == 0 || (err.kind == ERR_LIMIT && text.n > SPEC_FILE_MAX));
    strv_release(&vars);
    return job;
}

static void check_kept(const struct market_caller *poster, const char *id, const json_t *model)
{
    struct err err = ERR_INIT;
    json_t *kept = NULL;
    require(market_job_secrets(market, poster, id, &kept, &err) == 0);
    struct job *job = job_again(kept);
    if (job) {
        each_secret(job, find_secret);
        AUTO_JSON again = spec_to_json(job, &err);
        require(again && json_equal(again, model));
    }
    job_free(job);
    market_secrets_free(kept);
}

static void check_job(struct job *job)
{
    const struct market_caller poster = {.role = MARKET_POSTER, .token = "t"};
    struct market_post post = MARKET_POST_OWN;
    struct err err = ERR_INIT;
    AUTO_JSON out = NULL;
    post.market = MARKET;
    post.job = job;
    each_secret(job, plant_secret);
    AUTO_JSON model = spec_to_json(job, &err);
    if (market_job_post(market, &poster, &post, NULL, &out, &err) == 0) {
        check_stored();
        check_kept(&poster, json_get_str(json_object_get(out, "job"), "id"), model);
    } else {
        require(err.kind == ERR_INVALID || err.kind == ERR_LIMIT || err.kind == ERR_UNSUPPORTED);
        require(!strstr(err.text, SECRET) && !strstr(err.hint, SECRET));
    }
    forget_jobs();
}

static void check_definition(const json_t *body)
{
    static const char *const vars[] = {"name=value", NULL};
    const struct spec_opts opts = {.file = "definition", .vars = vars};
    struct err err = ERR_INIT;
    struct job *job = NULL;
    AUTO_BUF text;
    buf_init(&text, TEXT_MAX);
    const json_t *definition = json_object_get(body, "definition");
    if (definition && json_write(definition, false, &text, &err) == 0 &&
        spec_parse(buf_span(&text), &opts, &job, &err) == 0 && spec_check_market(job, &err) == 0)
        check_job(job);
    job_free(job);
}

static void plant_credentials(json_t *body)
{
    json_t *credentials = json_object_get(body, "credentials"), *value;
    const char *name;
    void *next;
    json_object_foreach_safe(credentials, next, name, value)
    {
        if (json_is_string(value))
            require(json_object_set_new(credentials, name, json_string(SECRET)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, TEXT_MAX);
    if (!market)
        set_up();
    AUTO_JSON body = json_parse((struct span){(const char *)data, n}, &err);
    if (!body) {
        check_request((struct span){(const char *)data, n});
        return 0;
    }
    if (json_write(body, false, &text, &err) < 0 || memmem(text.p, text.n, "Y2FuYXJ5", 8))
        return 0;
    check_definition(body);
    plant_credentials(body);
    buf_reset(&text);
    require(json_write(body, false, &text, &err) == 0);
    check_request(buf_span(&text));
    return 0;
}
