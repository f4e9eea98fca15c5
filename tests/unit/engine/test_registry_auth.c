#include "../base/test_base.h"

#include "base/enc.h"
#include "engine/registry_auth.h"

#define CANARY "c4n4ry-s3cret" /* must be in no error */

struct helper {
    const char *name, *server; /* as asked */
    unsigned asked;
    bool knows, fails;
};

static int answer(void *ctx, const char *name, const char *server, struct registry_login *out, struct err *err)
{
    static char kept_name[64], kept_server[128];
    struct helper *h = ctx;
    snprintf(kept_name, sizeof kept_name, "%s", name);
    snprintf(kept_server, sizeof kept_server, "%s", server);
    h->name = kept_name;
    h->server = kept_server;
    h->asked++;
    if (h->fails)
        return err_set(err, ERR_SYSTEM, "the helper failed");
    if (h->knows) {
        out->username = str_dup("helped", err);
        out->password = str_dup(CANARY, err);
    }
    return 0;
}

static int find(const char *text, const char *registry, struct helper *h, struct registry_login *out, struct err *err)
{
    struct helper none = {0};
    AUTO_JSON config = json_parse(span_of(text), err);
    assert_non_null(config);
    return registry_auth_find(config, registry, answer, h ? h : &none, out, err);
}

static void assert_login(const char *text, const char *registry, const char *user, const char *password)
{
    struct registry_login login;
    struct err err = ERR_INIT;
    assert_works(find(text, registry, NULL, &login, &err), &err);
    if (!user) {
        assert_null(login.username);
        assert_null(login.identity_token);
    } else {
        assert_non_null(login.username);
        assert_string_equal(login.username, user);
        assert_string_equal(login.password, password);
    }
    registry_login_release(&login);
}

static void entries_are_found_by_key_or_host(void **state)
{
    (void)state;
    /* base64 of "user:pa:ss" */
    assert_login("{\"auths\":{\"r.io\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "r.io", "user", "pa:ss");
    assert_login("{\"auths\":{\"https://r.io/v2/\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "r.io", "user", "pa:ss");
    assert_login("{\"auths\":{\"R.IO\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "r.io", "user", "pa:ss");
    assert_login("{\"auths\":{\"r.io:5000\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "r.io:5000", "user", "pa:ss");
    assert_login("{\"auths\":{\"r.io\":{\"username\":\"u\",\"password\":\"p\"}}}", "r.io", "u", "p");
    assert_login("{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "docker.io", "user",
                 "pa:ss");
    assert_login("{\"auths\":{\"docker.io\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "docker.io", "user", "pa:ss");
}

static void one_registrys_credentials_are_no_others(void **state)
{
    (void)state;
    static const char config[] = "{\"auths\":{\"r.io\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}";
    static const char *const others[] = {"r.io.evil.org", "evil-r.io", "r.io:5000", "r", "docker.io", ""};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_login(config, others[i], NULL, NULL);
}

static void nothing_in_the_file_is_no_credentials(void **state)
{
    static const char *const configs[] = {"{}",
                                          "{\"auths\":{}}",
                                          "{\"auths\":7}",
                                          "{\"auths\":{\"r.io\":{}}}",
                                          "{\"credHelpers\":{\"other\":\"x\"}}",
                                          "{\"credsStore\":\"\"}",
                                          "[]"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(configs); i++)
        assert_login(configs[i], "r.io", NULL, NULL);
}

static void an_identity_token_comes_before_a_password(void **state)
{
    struct registry_login login;
    struct err err = ERR_INIT;
    (void)state;
    assert_works(
        find("{\"auths\":{\"r.io\":{\"auth\":\"dTpw\",\"identitytoken\":\"" CANARY "\"}}}", "r.io", NULL, &login, &err),
        &err);
    assert_string_equal(login.identity_token, CANARY);
    assert_null(login.password);
    registry_login_release(&login);
}

static void a_registrys_own_helper_comes_first_then_the_store_then_the_file(void **state)
{
    static const char config[] = "{\"credHelpers\":{\"r.io\":\"own\"},\"credsStore\":\"store\","
                                 "\"auths\":{\"r.io\":{\"auth\":\"dTpw\"},\"s.io\":{\"auth\":\"dTpw\"}}}";
    struct helper h = {.knows = true};
    struct registry_login login;
    struct err err = ERR_INIT;
    (void)state;
    assert_works(find(config, "r.io", &h, &login, &err), &err);
    assert_string_equal(h.name, "own");
    assert_string_equal(h.server, "r.io");
    assert_string_equal(login.username, "helped");
    registry_login_release(&login);
    assert_works(find(config, "docker.io", &h, &login, &err), &err);
    assert_string_equal(h.name, "store");
    assert_string_equal(h.server, "https://index.docker.io/v1/");
    registry_login_release(&login);
    h.knows = false;
    assert_works(find(config, "s.io", &h, &login, &err), &err);
    assert_string_equal(login.username, "u");
    registry_login_release(&login);
    assert_int_equal(h.asked, 3);
}

static void a_helper_is_never_a_path_or_an_option(void **state)
{
    static const char *const names[] = {"../evil", "a/b", "a b", "a;b", "x\\u0007"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char config[128];
        struct helper h = {.knows = true};
        struct registry_login login;
        struct err err = ERR_INIT;
        snprintf(config, sizeof config, "{\"credsStore\":\"%s\"}", names[i][0] == 'x' ? "x\\u0007" : names[i]);
        assert_fails(find(config, "r.io", &h, &login, &err), &err, ERR_INVALID);
        assert_int_equal(h.asked, 0);
    }
}

static void broken_entries_are_errors_that_name_the_registry_and_no_secret(void **state)
{
    static const char *const configs[] = {"{\"auths\":{\"r.io\":{\"auth\":\"" CANARY "\"}}}",
                                          "{\"auths\":{\"r.io\":{\"auth\":\"dXNlcg==\"}}}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
        struct registry_login login;
        struct err err = ERR_INIT;
        assert_int_equal(find(configs[i], "r.io", NULL, &login, &err), -1);
        assert_contains(err.text, "r.io");
        assert_null(strstr(err.text, CANARY));
        assert_null(login.username);
    }
}

/* ---- the header, with a real config.json and a real helper ---- */

static void assert_header(const struct engine_registry_auth *given, const char *registry, const char *want)
{
    struct buf header;
    struct err err = ERR_INIT;
    uint8_t plain[1024];
    size_t n = 0;
    buf_init(&header, AUTH_HEADER_MAX);
    assert_works(registry_auth_header(given, false, registry, NULL, &header, &err), &err);
    for (size_t i = 0; i < header.n; i++) { /* base64url → base64 */
        assert_true(header.p[i] != '+' && header.p[i] != '/');
        header.p[i] = header.p[i] == '-' ? '+' : header.p[i] == '_' ? '/' : header.p[i];
    }
    assert_works(base64_decode(plain, sizeof plain - 1, &n, buf_span(&header), &err), &err);
    plain[n] = '\0';
    assert_string_equal((char *)plain, want);
    buf_wipe(&header);
}

static void use_config(const struct scratch *s, const char *config)
{
    struct err err = ERR_INIT;
    assert_works(fs_replace_file(s->fd, "config.json", config, strlen(config), 0600, &err), &err);
    assert_int_equal(setenv("DOCKER_CONFIG", s->path, 1), 0);
}

static void the_header_carries_what_was_given(void **state)
{
    struct engine_registry_auth given = {.server = "https://r.io", .username = "u?~", .password = "p\xc3\xbf>>"};
    use_config(*state, "{\"auths\":{\"other.io\":{\"auth\":\"dTpw\"}}}");
    assert_header(&given, "r.io", "{\"username\":\"u?~\",\"password\":\"p\xc3\xbf>>\",\"serveraddress\":\"r.io\"}");
    given.email = "a@b";
    given.server = NULL;
    assert_header(&given, "r.io",
                  "{\"username\":\"u?~\",\"password\":\"p\xc3\xbf>>\",\"email\":\"a@b\",\"serveraddress\":\"r.io\"}");
}

static void what_was_given_for_one_registry_goes_to_no_other(void **state)
{
    struct engine_registry_auth given = {.server = "r.io", .username = "u", .password = CANARY};
    use_config(*state, "{\"auths\":{\"other.io\":{\"auth\":\"dTpw\"}}}");
    assert_header(&given, "third.io", "");
    assert_header(&given, "other.io", "{\"username\":\"u\",\"password\":\"p\",\"serveraddress\":\"other.io\"}");
}

static void a_strangers_image_gets_none_of_this_machines(void **state)
{
    struct engine_registry_auth given = {.server = "r.io", .username = "u", .password = "p"};
    struct buf header;
    struct err err = ERR_INIT;
    use_config(*state, "{\"auths\":{\"other.io\":{\"auth\":\"dTpw\"}}}");
    buf_init(&header, AUTH_HEADER_MAX);
    assert_works(registry_auth_header(NULL, true, "other.io", NULL, &header, &err), &err);
    assert_works(registry_auth_header(&given, true, "other.io", NULL, &header, &err), &err);
    assert_int_equal(header.n, 0);
    assert_works(registry_auth_header(&given, true, "r.io", NULL, &header, &err), &err);
    assert_true(header.n > 0);
    buf_wipe(&header);
}

static void a_missing_config_is_no_credentials_and_a_broken_one_is_an_error(void **state)
{
    const struct scratch *s = *state;
    struct buf header;
    struct err err = ERR_INIT;
    assert_int_equal(setenv("DOCKER_CONFIG", s->path, 1), 0);
    assert_header(NULL, "r.io", "");
    use_config(s, "{\"auths\":" CANARY);
    buf_init(&header, AUTH_HEADER_MAX);
    assert_int_equal(registry_auth_header(NULL, false, "r.io", NULL, &header, &err), -1);
    assert_contains(err.text, "config.json");
    assert_null(strstr(err.text, CANARY));
    buf_wipe(&header);
}

static void install_helper(const struct scratch *s, const char *script)
{
    struct err err = ERR_INIT;
    assert_works(fs_replace_file(s->fd, "docker-credential-berth-test", script, strlen(script), 0755, &err), &err);
    use_config(s, "{\"credsStore\":\"berth-test\"}");
}

static void a_helper_is_asked_by_stdin_and_answers_in_json(void **state)
{
    const struct scratch *s = *state;
    char path[512];
    AUTO_STR before = strdup(getenv("PATH"));
    snprintf(path, sizeof path, "%s:%s", s->path, before);
    setenv("PATH", path, 1);
    install_helper(
        s, "#!/bin/sh\nread -r server || :\n[ \"$1\" = get ] && "
           "printf '{\"ServerURL\":\"%s\",\"Username\":\"u\",\"Secret\":\"for %s\"}' \"$server\" \"$server\"\n");
    assert_header(NULL, "r.io", "{\"username\":\"u\",\"password\":\"for r.io\",\"serveraddress\":\"r.io\"}");
    install_helper(s, "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"t\"}'\n");
    assert_header(NULL, "r.io", "{\"identitytoken\":\"t\",\"serveraddress\":\"r.io\"}");
    install_helper(s, "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n");
    assert_header(NULL, "r.io", "");
    struct buf header;
    struct err err = ERR_INIT;
    buf_init(&header, AUTH_HEADER_MAX);
    install_helper(s, "#!/bin/sh\necho " CANARY "; exit 3\n");
    assert_int_equal(registry_auth_header(NULL, false, "r.io", NULL, &header, &err), -1);
    assert_contains(err.text, "docker-credential-berth-test");
    assert_null(strstr(err.text, CANARY));
    err_clear(&err);
    install_helper(s, "#!/bin/sh\necho " CANARY "\n");
    assert_fails(registry_auth_header(NULL, false, "r.io", NULL, &header, &err), &err, ERR_PROTOCOL);
    buf_wipe(&header);
    setenv("PATH", before, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_by_key_or_host),
        cmocka_unit_test(one_registrys_credentials_are_no_others),
        cmocka_unit_test(nothing_in_the_file_is_no_credentials),
        cmocka_unit_test(an_identity_token_comes_before_a_password),
        cmocka_unit_test(a_registrys_own_helper_comes_first_then_the_store_then_the_file),
        cmocka_unit_test(a_helper_is_never_a_path_or_an_option),
        cmocka_unit_test(broken_entries_are_errors_that_name_the_registry_and_no_secret),
        scratch_test(the_header_carries_what_was_given),
        scratch_test(what_was_given_for_one_registry_goes_to_no_other),
        scratch_test(a_strangers_image_gets_none_of_this_machines),
        scratch_test(a_missing_config_is_no_credentials_and_a_broken_one_is_an_error),
        scratch_test(a_helper_is_asked_by_stdin_and_answers_in_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
