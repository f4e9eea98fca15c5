#include "test_spec.h"

static struct arena *new_arena(void)
{
    struct err err = ERR_INIT;
    struct arena *a = arena_new(0, &err);
    assert_non_null(a);
    return a;
}

static struct input input_of(struct arena *a, const char *src)
{
    struct err err = ERR_INIT;
    struct input in = {0};
    if (spec_parse_input(a, span_of(src), &in, &err) < 0)
        fail_msg("%s: %s", src, err.text);
    return in;
}

static void a_uri_with_or_without_target_is_an_input(void **state)
{
    (void)state;
    static const struct {
        const char *src;
        const char *bucket, *key, *target;
        bool exact;
    } rows[] = {
        {"s3://b/k/x.txt", "b", "k/x.txt", "/inputs", true},
        {"s3://b/k/:/data/", "b", "k/", "/data", false},
        {"s3://b", "b", "", "/inputs", false},
        {"s3://b/k*:/data", "b", "k*", "/data", false},
        {"s3://b/a=b?c#d%20e+f&g", "b", "a=b?c#d%20e+f&g", "/inputs", true},
        {"s3://b/a,b.txt", "b", "a,b.txt", "/inputs", true},
        {"s3://b/a:b", "b", "a:b", "/inputs", true},
        {"src=s3://b/k", "b", "k", "/inputs", true},
        {"src=s3://b/k,dst=/x", "b", "k", "/x", true},
        {"source=s3://b/k,v=1,destination=/x", "b", "k,v=1", "/x", true},
        {"target=/x,src=s3://b/a=1:/y", "b", "a=1:/y", "/x", true},
        {"s3://b/k,dst=/x", "b", "k", "/x", true},
    };
    AUTO_ARENA a = new_arena();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct input in = input_of(a, rows[i].src);
        assert_int_equal(in.kind, SOURCE_S3);
        assert_string_equal(in.s3.bucket, rows[i].bucket);
        assert_string_equal(in.s3.key, rows[i].key);
        assert_string_equal(in.target, rows[i].target);
        assert_int_equal(in.target_default, str_eq(rows[i].target, "/inputs"));
        assert_int_equal(in.s3.exact_key, rows[i].exact);
    }
}

static void options_go_to_the_source(void **state)
{
    (void)state;
    AUTO_ARENA a = new_arena();
    struct input in = input_of(a, "src=s3://b/k,dst=/x,opt=endpoint=http://h:9000,opt=region=r,option=versionID=v,"
                                  "opt=checksum-256=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff,"
                                  "opt=filter=a,b=c$");
    assert_string_equal(in.s3.endpoint, "http://h:9000");
    assert_string_equal(in.s3.region, "r");
    assert_string_equal(in.s3.version_id, "v");
    assert_non_null(in.s3.checksum_sha256);
    assert_string_equal(in.s3.filter, "a,b=c$");
}

static void every_scheme_has_its_source(void **state)
{
    (void)state;
    AUTO_ARENA a = new_arena();
    struct input hf = input_of(a, "hf://o/n@v1/sub/f.bin:/m");
    assert_string_equal(hf.hf.repo, "o/n");
    assert_string_equal(hf.hf.revision, "v1");
    assert_string_equal(hf.hf.files.v[0], "sub/f.bin");
    assert_string_equal(hf.target, "/m");
    struct input folder = input_of(a, "hf://datasets/o/n/sub/");
    assert_string_equal(folder.hf.repo, "datasets/o/n");
    assert_null(folder.hf.revision);
    assert_string_equal(folder.hf.files.v[0], "sub/*");
    assert_int_equal(input_of(a, "hf://o/n").hf.files.n, 0);
    assert_string_equal(input_of(a, "src=hf://o/n,opt=revision=x").hf.revision, "x");
    assert_false(folder.hf.hub_layout);
    assert_false(input_of(a, "src=hf://o/n,opt=layout=files").hf.hub_layout);
    assert_true(input_of(a, "src=hf://o/n,opt=layout=hub").hf.hub_layout);
    struct input none;
    struct err err = ERR_INIT;
    assert_int_equal(spec_parse_input(a, SPAN_LIT("src=hf://o/n,opt=layout=x"), &none, &err), -1);
    assert_non_null(strstr(err.text, "expected hub"));
    struct input ollama = input_of(a, "ollama://llama3:8b");
    assert_string_equal(ollama.ollama.model, "llama3:8b");
    assert_string_equal(ollama.target, "/root/.ollama/models");
    assert_string_equal(input_of(a, "ollama://llama3:8b:/m").target, "/m");
    struct input url = input_of(a, "https://h:8443/a/b.txt?x=1:/data");
    assert_int_equal(url.kind, SOURCE_URL);
    assert_string_equal(url.url.url, "https://h:8443/a/b.txt?x=1");
    assert_string_equal(url.target, "/data");
    assert_string_equal(input_of(a, "http://h/x").url.url, "http://h/x");
    struct input local = input_of(a, "file:///data/in:/data");
    assert_int_equal(local.kind, SOURCE_LOCAL);
    assert_string_equal(local.local.path, "/data/in");
    assert_false(local.writable);
    assert_true(input_of(a, "src=file:///d,opt=rw=true").writable);
}

static void mistakes_in_inputs_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *src, *part;
        enum err_kind kind;
    } rows[] = {
        {"", "no source", ERR_USAGE},
        {"data", "has no scheme", ERR_USAGE},
        {"dst=/x", "no source", ERR_USAGE},
        {"src=s3://b/k,src=s3://b/l", "src given twice", ERR_USAGE},
        {"src=s3://b/k,dst=/x,dst=/y", "dst given twice", ERR_USAGE},
        {"src=s3://b/k,opt=foo=1", "unknown option 'opt=foo'", ERR_USAGE},
        {"src=s3://b/,opt=versionID=1", "need a key of one object", ERR_USAGE},
        {"src=s3://b/k,opt=filter=(", "not a regular expression", ERR_INVALID},
        {"src=s3://b/k,opt=endpoint=h", "not a URL", ERR_INVALID},
        {"src=s3://b/k,dst=rel", "not an absolute path", ERR_INVALID},
        {"s3:///k", "not a bucket name", ERR_INVALID},
        {"hf://name", "expected owner/name", ERR_INVALID},
        {"hf://o/n/../x", "..", ERR_REFUSED},
        {"file://rel", "absolute path", ERR_INVALID},
        {"ipfs://Qm", "not supported: source 'ipfs://'", ERR_UNSUPPORTED},
    };
    AUTO_ARENA a = new_arena();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct input in;
        assert_int_equal(spec_parse_input(a, span_of(rows[i].src), &in, &err), -1);
        if (!strstr(err.text, rows[i].part) || err.kind != rows[i].kind)
            fail_msg("%s: %s (%s)", rows[i].src, err.text, err_kind_name(err.kind));
    }
}

static void publishers_and_outputs_are_read(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_ARENA a = new_arena();
    struct publisher p;
    assert_works(spec_parse_publisher(
                     a, span_of("s3://b/r/{jobID}/,opt=endpoint=https://h,opt=region=r,opt=encoding=plain"), &p, &err),
                 &err);
    assert_string_equal(p.bucket, "b");
    assert_string_equal(p.key, "r/{jobID}/");
    assert_string_equal(p.endpoint, "https://h");
    assert_int_equal(p.encoding, PUBLISH_PLAIN);
    assert_works(spec_parse_publisher(a, span_of("local"), &p, &err), &err);
    assert_int_equal(p.kind, PUBLISH_LOCAL);
    assert_works(spec_parse_publisher(a, span_of("s3managed"), &p, &err), &err);
    assert_int_equal(p.kind, PUBLISH_S3MANAGED);
    assert_works(spec_parse_publisher(a, span_of("file:///r/{jobID}.tar.gz"), &p, &err), &err);
    assert_int_equal(p.kind, PUBLISH_LOCAL);
    assert_string_equal(p.key, "/r/{jobID}.tar.gz");
    assert_works(spec_parse_publisher(a,
                                      span_of("s3://b/k,opt=storage-class=GLACIER_IR,opt=sse=aws:kms,"
                                              "opt=sse-kms-key-id=K,opt=tags=a=1&b=2,opt=acl=private,"
                                              "opt=if-none-match=*"),
                                      &p, &err),
                 &err);
    assert_string_equal(p.storage_class, "GLACIER_IR");
    assert_string_equal(p.sse, "aws:kms");
    assert_string_equal(p.sse_kms_key_id, "K");
    assert_string_equal(p.tags, "a=1&b=2");
    assert_string_equal(p.acl, "private");
    assert_true(p.only_new);
    static const char *const bad[] = {"s3://b",
                                      "s3://b/{x}",
                                      "ftp://x/y",
                                      "s3://b/k,opt=ackl=x",
                                      "s3://b/k,dst=/x",
                                      "ipfs",
                                      "",
                                      "file://relative",
                                      "file:///{x}",
                                      "s3://b/k,opt=sse=DES",
                                      "s3://b/k,opt=if-none-match=x",
                                      "s3://b/k,opt=sse=AES256,opt=sse-c=a2V5"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err why = ERR_INIT;
        assert_int_equal(spec_parse_publisher(a, span_of(bad[i]), &p, &why), -1);
        assert_true(why.text[0] != '\0');
    }
    struct output o;
    assert_works(spec_parse_output(a, span_of("out:/outputs/"), &o, &err), &err);
    assert_string_equal(o.name, "out");
    assert_string_equal(o.path, "/outputs");
    static const char *const bad_outputs[] = {"out", ":/x", "out:rel", "..:/x", "out:/"};
    for (size_t i = 0; i < ARRAY_LEN(bad_outputs); i++) {
        struct err why = ERR_INIT;
        assert_int_equal(spec_parse_output(a, span_of(bad_outputs[i]), &o, &why), -1);
    }
}

static struct strv list_of(const char *const *items)
{
    struct strv v = {0};
    struct err err = ERR_INIT;
    for (; *items; items++)
        assert_works(strv_add(&v, *items, &err), &err);
    return v;
}
#define LIST(...) list_of((const char *const[]){__VA_ARGS__, NULL})

static void docker_run_builds_the_same_job_as_a_file(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct strv inputs = LIST("s3://b/k:/in"), outputs = LIST("out:/out"), env = LIST("A=b"), labels = LIST("l=v"),
                constraints = LIST("gpu=a100", "zone!=x", "mem>5", "ssd", "!spot"), domains = {0};
    const char *const command[] = {"ls", "-l", NULL};
    const struct spec_docker_run run = {.image = "img",
                                        .command = command,
                                        .inputs = &inputs,
                                        .outputs = &outputs,
                                        .env = &env,
                                        .labels = &labels,
                                        .constraints = &constraints,
                                        .publisher = "s3://p/r",
                                        .entrypoint = "/bin/e",
                                        .work_dir = "/w",
                                        .name = "n",
                                        .network = "full",
                                        .domains = &domains,
                                        .cpu = 0.5,
                                        .memory_bytes = 1000,
                                        .timeout_ms = 2000,
                                        .gpu = 1,
                                        .priority = 3};
    struct job *job = NULL;
    assert_works(spec_from_docker_run(&run, &job, &err), &err);
    AUTO_JOB file = must_parse(
        "Name: n\nType: batch\nPriority: 3\nLabels: {l: v}\nConstraints:\n  - {Key: gpu, Operator: =, Values: [a100]}\n"
        "  - {Key: zone, Operator: '!=', Values: [x]}\n  - {Key: mem, Operator: gt, Values: ['5']}\n  - {Key: ssd, "
        "Operator: exists}\n  - {Key: spot, Operator: '!'}\nTasks:\n  - Name: main\n    Engine: {Type: docker, Params: "
        "{Image: img, Entrypoint: [/bin/e], Parameters: [ls, -l], WorkingDirectory: /w}}\n    Env: {A: b}\n    "
        "InputSources: [{Target: /in, Source: {Type: s3, Params: {Bucket: b, Key: k}}}]\n    Publisher: {Type: s3, "
        "Params: {Bucket: p, Key: r}}\n    ResultPaths: [{Name: out, Path: /out}]\n    Resources: {CPU: 0.5, Memory: "
        "1000, GPU: 1}\n    Network: {Type: Full}\n    Timeouts: {ExecutionTimeout: 2}\n");
    AUTO_JSON a = spec_to_json(job, &err);
    AUTO_JSON b = spec_to_json(file, &err);
    assert_true(json_equal(a, b));
    assert_works(spec_check_runnable(job, &err), &err);
    job_free(job);
    strv_release(&inputs);
    strv_release(&outputs);
    strv_release(&env);
    strv_release(&labels);
    strv_release(&constraints);
}

static void docker_run_takes_the_least_and_refuses_the_wrong(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct job *job = NULL;
    assert_works(spec_from_docker_run(&(struct spec_docker_run){.image = "img"}, &job, &err), &err);
    assert_int_equal(job->ops[0].network, NETWORK_NONE);
    assert_int_equal(job->count, 1);
    job_free(job);
    assert_works(spec_from_docker_run(&(struct spec_docker_run){.image = "img", .count = 2}, &job, &err), &err);
    assert_int_equal(spec_check_runnable(job, &err), -1);
    job_free(job);
    struct strv same = LIST("a:/x", "a:/y"), bad_env = LIST("A"), bad_input = LIST("nothing"), bad_limit = LIST("=x");
    const struct spec_docker_run bad[] = {{.image = ""},
                                          {.image = "i", .cpu = -1},
                                          {.image = "i", .network = "wifi"},
                                          {.image = "i", .publisher = "x"},
                                          {.image = "i", .outputs = &same},
                                          {.image = "i", .env = &bad_env},
                                          {.image = "i", .inputs = &bad_input},
                                          {.image = "i", .labels = &bad_limit},
                                          {.image = "i", .constraints = &bad_limit},
                                          {.image = "i", .domains = &same}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err why = ERR_INIT;
        assert_int_equal(spec_from_docker_run(&bad[i], &job, &why), -1);
        assert_true(why.text[0] != '\0');
    }
    strv_release(&same);
    strv_release(&bad_env);
    strv_release(&bad_input);
    strv_release(&bad_limit);
}

static void a_constraint_that_would_mean_something_else_is_refused(void **state)
{
    (void)state;
    struct strv odd = LIST("mem>=5", "mem<=5", "region in (a,b)", "(x)", "!", "a b=c", ">5"),
                fine = LIST("mem>5", "mem<-1.5", "a=b c", "a==b", "a!=(b)", "a=>5", "!ssd");
    for (size_t i = 0; i < odd.n + fine.n; i++) {
        bool is_odd = i < odd.n;
        char *one[] = {is_odd ? odd.v[i] : fine.v[i - odd.n], NULL};
        const struct strv list = {one, 1};
        struct job *job = NULL;
        struct err err = ERR_INIT;
        int rc = spec_from_docker_run(&(struct spec_docker_run){.image = "i", .constraints = &list}, &job, &err);
        if ((rc < 0) != is_odd)
            fail_msg("%s: %s", one[0], err.text);
        assert_int_equal(err.kind, is_odd ? ERR_USAGE : ERR_NONE);
        job_free(job);
    }
    strv_release(&odd);
    strv_release(&fine);
}

static void a_publisher_of_the_command_line_takes_the_place_of_the_jobs_own(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_JOB job = must_parse(BACALHAU("Count: 2\n", "    Publisher: {Type: s3managed}\n"));
    assert_int_equal(job->unsupported_count, 2);
    assert_int_equal(spec_override_publisher(job, SPAN_LIT("s3managed"), &err), -1);
    assert_int_equal(err.kind, ERR_UNSUPPORTED);
    err_clear(&err);
    assert_works(spec_override_publisher(job, SPAN_LIT("s3://b/k"), &err), &err);
    assert_string_equal(job->publisher.bucket, "b");
    assert_int_equal(job->unsupported_count, 1);
    assert_non_null(strstr(job->unsupported[0].what, "Count"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uri_with_or_without_target_is_an_input),
        cmocka_unit_test(options_go_to_the_source),
        cmocka_unit_test(every_scheme_has_its_source),
        cmocka_unit_test(mistakes_in_inputs_are_told),
        cmocka_unit_test(publishers_and_outputs_are_read),
        cmocka_unit_test(docker_run_builds_the_same_job_as_a_file),
        cmocka_unit_test(docker_run_takes_the_least_and_refuses_the_wrong),
        cmocka_unit_test(a_constraint_that_would_mean_something_else_is_refused),
        cmocka_unit_test(a_publisher_of_the_command_line_takes_the_place_of_the_jobs_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
