#include "../xfer/loopback.h"
#include "conformance.h"

#include "proxy.h"

/* ---- images ---- */

static void an_image_that_is_present_is_not_pulled(void **state)
{
    const struct rig *r = *state;
    char id[IMAGE_ID_MAX];
    bool pulled = true;
    struct err err = ERR_INIT;
    assert_works(engine_image_ensure(r->engine, r->image, NULL, id, &pulled, &err), &err);
    assert_false(pulled);
    assert_true(span_starts(span_of(id), SPAN_LIT("sha256:")));
    assert_int_equal(strlen(id), strlen("sha256:") + 64);
    assert_works(engine_image_ensure(r->engine, id, NULL, id, &pulled, &err), &err); /* its id names it too */
    assert_false(pulled);
}

static void an_image_that_must_not_be_pulled_is_not_found(void **state)
{
    const struct rig *r = *state;
    struct engine_pull_opts opts = {.when = ENGINE_PULL_NEVER};
    char id[IMAGE_ID_MAX], container[CONTAINER_ID_MAX];
    bool pulled = true;
    const char *argv[4];
    struct err err = ERR_INIT;
    assert_int_equal(engine_image_ensure(r->engine, "localhost/no/such:image", &opts, id, &pulled, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_contains(err.text, "localhost/no/such:image");
    assert_contains(err.hint, "--pull");
    err_clear(&err);
    struct engine_container c = rig_container(r, argv, ":");
    c.image = "localhost/no/such:image";
    assert_int_equal(engine_create(r->engine, &c, container, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_contains(err.text, "localhost/no/such:image");
}

struct seen {
    unsigned calls;
    bool ran_backwards;
};

static void note_progress(void *ctx, const char *status, uint64_t done, uint64_t total)
{
    struct seen *s = ctx;
    assert_non_null(status);
    s->calls++;
    s->ran_backwards = s->ran_backwards || done > total;
}

static void an_image_is_pulled_with_progress_and_used(void **state)
{
    const struct rig *r = *state;
    struct seen seen = {0};
    struct engine_pull_opts opts = {.when = ENGINE_PULL_ALWAYS, .progress = note_progress, .ctx = &seen};
    char id[IMAGE_ID_MAX];
    bool pulled = false;
    const char *argv[4];
    struct outcome o = {0};
    struct err err = ERR_INIT;
    if (str_empty(r->registry_image)) {
        print_message("needs BERTH_TEST_REGISTRY_IMAGE\n");
        skip();
    }
    assert_works(engine_image_ensure(r->engine, r->registry_image, &opts, id, &pulled, &err), &err);
    assert_true(pulled);
    assert_true(seen.calls > 0);
    assert_false(seen.ran_backwards);
    opts.when = ENGINE_PULL_MISSING;
    assert_works(engine_image_ensure(r->engine, r->registry_image, &opts, id, &pulled, &err), &err);
    assert_false(pulled);
    struct engine_container c = rig_container(r, argv, "echo hi");
    c.image = r->registry_image;
    assert_works(rig_run(r, &c, NULL, &o, &err), &err);
    assert_string_equal(buf_str(&o.out), "hi\n");
    outcome_release(&o);
}

static int pull_fails(const struct rig *r, const char *image, struct err *err)
{
    char id[IMAGE_ID_MAX];
    bool pulled = true;
    assert_int_equal(engine_image_ensure(r->engine, image, NULL, id, &pulled, err), -1);
    assert_false(pulled);
    assert_contains(err->text, image);
    return (int)err->kind;
}

static void a_tag_that_the_registry_does_not_have_is_not_found(void **state)
{
    const struct rig *r = *state;
    char image[256];
    struct err err = ERR_INIT;
    if (str_empty(r->registry_image)) {
        print_message("needs BERTH_TEST_REGISTRY_IMAGE\n");
        skip();
    }
    snprintf(image, sizeof image, "%.*s-no-such-tag", 200, r->registry_image);
    assert_int_equal(pull_fails(r, image, &err), ERR_NOTFOUND);
}

static void a_registry_that_is_not_there_is_worth_another_try(void **state)
{
    struct err err = ERR_INIT;
    assert_int_equal(pull_fails(*state, "127.0.0.1:1/no/such:image", &err), ERR_TRANSIENT);
}

static enum loopback_then refuse_all(void *ctx, const char *request, struct buf *out)
{
    static const char body[] = "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}";
    (void)ctx, (void)request;
    buf_addf(out,
             "HTTP/1.1 401 Unauthorized\r\nDocker-Distribution-Api-Version: registry/2.0\r\n"
             "WWW-Authenticate: Basic realm=\"berth\"\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             sizeof body - 1, body);
    return LOOPBACK_KEEP;
}

static void a_registry_that_wants_credentials_is_denied(void **state)
{
    const struct rig *r = *state;
    char image[64];
    struct err err = ERR_INIT;
    if (str_eq(r->info.name, "podman"))
        skip(); /* it takes an unknown registry without TLS only by its configuration */
    struct loopback *registry = loopback_start(refuse_all, NULL, NULL);
    assert_non_null(registry);
    snprintf(image, sizeof image, "127.0.0.1:%u/private/image:1", loopback_port(registry));
    int kind = pull_fails(r, image, &err);
    loopback_stop(registry);
    loopback_free(registry);
    assert_int_equal(kind, ERR_DENIED);
    assert_contains(err.hint, "docker login");
}

/* ---- lists ---- */

static void containers_are_listed_by_label_living_or_dead(void **state)
{
    const struct rig *r = *state;
    static const char *const labels[] = {RIG_LABEL "2=odd value=\"1\"", RIG_LABEL "=yes", NULL};
    const char *argv[4];
    char first[CONTAINER_ID_MAX], second[CONTAINER_ID_MAX];
    struct engine_listed *list = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, ":");
    c.labels = labels;
    assert_works(engine_create(r->engine, &c, first, &err), &err);
    assert_works(engine_create(r->engine, &c, second, &err), &err);
    assert_works(rig_follow(r->engine, second, NULL, &o, &err), &err);
    assert_works(engine_list(r->engine, RIG_LABEL "2", &list, &n, &err), &err);
    assert_works(engine_remove(r->engine, first, &err), &err);
    assert_works(engine_remove(r->engine, second, &err), &err);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        assert_true(str_eq(list[i].id, first) || str_eq(list[i].id, second));
        assert_string_equal(list[i].label, "odd value=\"1\"");
        assert_false(list[i].running);
    }
    free(list);
    assert_works(engine_list(r->engine, RIG_LABEL "2", &list, &n, &err), &err);
    free(list);
    assert_int_equal(n, 0);
    outcome_release(&o);
}

static void a_name_is_given_once(void **state)
{
    const struct rig *r = *state;
    const char *argv[4];
    char id[CONTAINER_ID_MAX], other[CONTAINER_ID_MAX];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, ":");
    c.name = "berth-conformance-name";
    assert_works(engine_create(r->engine, &c, id, &err), &err);
    assert_int_equal(engine_create(r->engine, &c, other, &err), -1);
    assert_int_equal(err.kind, ERR_EXISTS);
    err_clear(&err);
    assert_works(engine_remove(r->engine, "berth-conformance-name", &err), &err);
}

/* ---- an engine that goes away ---- */

struct vanishing {
    struct proxy *proxy;
};

static int vanish_now(void *ctx, const struct outcome *o, struct err *err)
{
    struct vanishing *v = ctx;
    (void)o, (void)err;
    proxy_vanish(v->proxy);
    return 0;
}

/* F41 */
static void an_engine_that_vanishes_mid_run_is_a_clear_error(void **state)
{
    const struct rig *r = *state;
    char path[96], address[112], id[CONTAINER_ID_MAX];
    const char *argv[4];
    struct engine *through = NULL;
    struct err err = ERR_INIT;
    if (!rig_is_local(r))
        skip();
    snprintf(path, sizeof path, "%s/engine.sock", r->folder);
    snprintf(address, sizeof address, "unix://%s", path);
    struct vanishing v = {proxy_start(path, r->info.address + strlen("unix://"))};
    struct outcome o = {.on_output = vanish_now, .ctx = &v};
    assert_non_null(v.proxy);
    struct engine_container c = rig_container(r, argv, "echo up; sleep 1000");
    assert_works(engine_open(&through, &(struct engine_opts){.where = address}, &err), &err);
    assert_works(engine_create(through, &c, id, &err), &err);
    int rc = rig_follow(through, id, NULL, &o, &err);
    engine_free(through);
    proxy_stop(v.proxy);
    struct err after = ERR_INIT;
    assert_works(engine_remove(r->engine, id, &after), &after);
    assert_int_equal(rc, -1);
    assert_int_equal(err.kind, ERR_TRANSIENT);
    assert_contains(err.text, address);
    outcome_release(&o);
}

static const struct CMUnitTest tests[] = {
    rig_test(an_image_that_is_present_is_not_pulled),
    rig_test(an_image_that_must_not_be_pulled_is_not_found),
    rig_test(an_image_is_pulled_with_progress_and_used),
    rig_test(a_tag_that_the_registry_does_not_have_is_not_found),
    rig_test(a_registry_that_is_not_there_is_worth_another_try),
    rig_test(a_registry_that_wants_credentials_is_denied),
    rig_test(containers_are_listed_by_label_living_or_dead),
    rig_test(a_name_is_given_once),
    rig_test(an_engine_that_vanishes_mid_run_is_a_clear_error),
};
const struct part part_images = {tests, ARRAY_LEN(tests)};
