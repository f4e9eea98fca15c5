/* What a profile describes: keys, a program, another profile's role; and how it says that it can't. */
#include "creds_rig.h"

static void use_profile(struct creds_rig *r, const char *credentials, const char *config)
{
    rig_open(r);
    if (credentials)
        rig_write(r, ".aws/credentials", "%s", credentials);
    if (config)
        rig_write(r, ".aws/config", "%s", config);
    rig_set(r, "AWS_PROFILE", "dev");
}

/* ---- static keys ---- */

static void test_keys_of_the_credentials_file_come_before_those_of_the_configuration(void **state)
{
    (void)state;
    struct creds_rig r;
    use_profile(&r, "[dev]\naws_access_key_id = AKIADEVDEVDEVDEV7777\naws_secret_access_key = one\n",
                "[profile dev]\naws_access_key_id = B\naws_secret_access_key = two\nregion = eu-north-1\n");
    must_find(&r);
    must_get(&r, "AKIADEVDEVDEVDEV7777", "one", NULL);
    assert_string_equal(creds_region(r.creds), "eu-north-1");
    assert_string_equal(creds_describe(r.creds), "profile 'dev' (AKIA…7777)");
    rig_close(&r);
}

static void test_the_default_profile_is_used_unnamed_and_may_lack_the_word_profile(void **state)
{
    (void)state;
    static const struct {
        const char *config, *id;
    } cases[] = {
        {"[default]\naws_access_key_id = A\naws_secret_access_key = s\n", "A"},
        {"[profile default]\naws_access_key_id = A\naws_secret_access_key = s\n", "A"},
        {"[default]\naws_access_key_id = B\naws_secret_access_key = s\n"
         "[profile default]\naws_access_key_id = A\naws_secret_access_key = s\n",
         "A"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_write(&r, ".aws/config", "%s", cases[i].config);
        must_find(&r);
        must_get(&r, cases[i].id, "s", NULL);
        rig_close(&r);
    }
}

static void test_files_are_found_where_variables_say(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_write(&r, "elsewhere/keys", "[dev]\naws_access_key_id = A\naws_secret_access_key = s\n");
    rig_write(&r, "elsewhere/conf", "[profile dev]\nregion = sa-east-1\n");
    rig_set(&r, "AWS_SHARED_CREDENTIALS_FILE", "~/elsewhere/keys");
    rig_set(&r, "AWS_CONFIG_FILE", "%s/elsewhere/conf", r.home);
    rig_set(&r, "AWS_PROFILE", "dev");
    must_find(&r);
    must_get(&r, "A", "s", NULL);
    assert_string_equal(creds_region(r.creds), "sa-east-1");
    rig_close(&r);
}

static void test_the_environments_region_comes_before_the_profiles(void **state)
{
    (void)state;
    struct creds_rig r;
    use_profile(&r, "[dev]\naws_access_key_id = A\naws_secret_access_key = s\nregion = eu-north-1\n", NULL);
    rig_set(&r, "AWS_DEFAULT_REGION", "eu-west-2");
    rig_set(&r, "AWS_REGION", "eu-west-3");
    must_find(&r);
    assert_string_equal(creds_region(r.creds), "eu-west-3");
    rig_close(&r);
}

static void test_a_profile_without_credentials_lets_the_chain_go_on(void **state)
{
    (void)state;
    struct creds_rig r;
    use_profile(&r, NULL, "[profile dev]\nregion = eu-north-1\n");
    must_find(&r);
    assert_true(creds_anonymous(r.creds));
    assert_string_equal(creds_region(r.creds), "eu-north-1");
    rig_close(&r);
}

static void test_a_profile_that_there_is_not_is_an_error_with_the_nearest_name(void **state)
{
    (void)state;
    struct creds_rig r;
    use_profile(&r, "[dev2]\naws_access_key_id = canary\n", "[profile production]\n");
    must_fail(&r, ERR_NOTFOUND, "no profile 'dev'");
    assert_string_equal(r.err.hint, "did you mean 'dev2'?");
    rig_close(&r);
}

static void test_broken_profiles_are_errors_that_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *config, *words;
        enum err_kind kind;
    } cases[] = {
        {"[profile dev]\naws_access_key_id = canary\n", "no aws_secret_access_key", ERR_INVALID},
        {"[profile dev]\naws_secret_access_key = canary\n", "no aws_access_key_id", ERR_INVALID},
        {"[profile dev]\naws_access_key_id = A\naws_secret_access_key = canary\n  more\n", "control character",
         ERR_INVALID},
        {"[profile dev]\ncanary\n", ".aws/config: line 2", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\n", "whose keys", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = a\ncredential_source = b\n", "both", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\ncredential_source = Moon\n", "none of Environment", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\ncredential_source = Environment\n", "no keys at 'Environment'",
         ERR_NOTFOUND},
        {"[profile dev]\nrole_arn = arn:x\ncredential_source = EcsContainer\n", "no keys at 'EcsContainer'",
         ERR_NOTFOUND},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = gone\n", "no profile 'gone'", ERR_NOTFOUND},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = b\n[profile b]\nregion = x\n", "has no credentials",
         ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = dev\n", "has no credentials", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = b\n[profile b]\nrole_arn = arn:y\nsource_profile = dev\n",
         "its own source", ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = dev\nmfa_serial = m\n", "mfa_serial", ERR_UNSUPPORTED},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = dev\nduration_seconds = 60\n", "duration_seconds",
         ERR_INVALID},
        {"[profile dev]\nrole_arn = arn:x\nsource_profile = b\nregion = evil.example/\n"
         "[profile b]\naws_access_key_id = A\naws_secret_access_key = canary\n",
         "name of a region", ERR_INVALID},
        {"[profile dev]\nsso_account_id = 1\nsso_role_name = r\n", "sso_start_url", ERR_INVALID},
        {"[profile dev]\nsso_account_id = 1\nsso_session = s\n", "[sso-session s]", ERR_INVALID},
        {"[profile dev]\nsso_account_id = 1\nsso_session = s\n[sso-session s]\nsso_start_url = u\nsso_region = x\n",
         "sso_role_name", ERR_INVALID},
        {"[profile dev]\ncredential_process = \"canary\n", "credential_process", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        use_profile(&r, NULL, cases[i].config);
        must_fail(&r, cases[i].kind, cases[i].words);
        rig_close(&r);
    }
}

static void test_profiles_that_name_each_other_without_end_are_refused(void **state)
{
    (void)state;
    struct creds_rig r;
    AUTO_BUF config;
    buf_init(&config, 8192);
    buf_adds(&config, "[profile dev]\nrole_arn = a\nsource_profile = p0\n");
    for (int i = 0; i < 20; i++)
        buf_addf(&config, "[profile p%d]\nrole_arn = a\nsource_profile = p%d\n", i, i + 1);
    use_profile(&r, NULL, buf_str(&config));
    must_fail(&r, ERR_INVALID, "name each other");
    rig_close(&r);
}

/* ---- programs ---- */

static void use_program(struct creds_rig *r, const char *script)
{
    use_profile(r, NULL, NULL);
    rig_write(r, "my tools/keys", "#!/bin/sh\n%s\n", script);
    rig_write(r, ".aws/config", "[profile dev]\ncredential_process = \"%s/my tools/keys\" --for 'dev team'\n", r->home);
}

static void test_a_program_gives_keys_that_are_kept_until_their_end(void **state)
{
    (void)state;
    struct creds_rig r;
    use_program(&r,
                "[ \"$1 $2 $#\" = '--for dev team 2' ] || exit 9\n"
                "echo x >> \"$HOME/asked\"\n"
                "echo canary >&2\n"
                "echo '{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"s\", \"SessionToken\": \"t\","
                " \"Expiration\": \"2030-06-01T13:00:00Z\"}'");
    must_find(&r);
    must_get(&r, "A", "s", "t");
    must_get(&r, "A", "s", "t");
    r.now_ms += 56 * MINUTE_MS;
    must_get(&r, "A", "s", "t");
    char path[128];
    AUTO_BUF asked;
    buf_init(&asked, 64);
    snprintf(path, sizeof path, "%s/asked", r.home);
    assert_int_equal(fs_read_file(AT_FDCWD, path, 64, &asked, &r.err), 0);
    assert_string_equal(buf_str(&asked), "x\nx\n");
    rig_close(&r);
}

static void test_a_program_that_gives_no_keys_is_an_error_without_its_words(void **state)
{
    (void)state;
    static const struct {
        const char *script, *words;
        enum err_kind kind;
    } cases[] = {
        {"echo canary; echo canary >&2; exit 3", "exit code 3", ERR_DENIED},
        {"kill -9 $$", "signal 9", ERR_DENIED},
        {"echo canary", "not the JSON object", ERR_PROTOCOL},
        {"echo '[\"canary\"]'", "not the JSON object", ERR_PROTOCOL},
        {"echo '{\"Version\": 2, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"canary\"}'", "Version 1", ERR_PROTOCOL},
        {"echo '{\"Version\": 1, \"AccessKeyId\": \"A\"}'", "SecretAccessKey", ERR_PROTOCOL},
        {"echo '{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"canary\", \"Expiration\": \"soon\"}'",
         "not a date", ERR_PROTOCOL},
        {"head -c 300000 /dev/zero", "credential_process", ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        use_program(&r, cases[i].script);
        must_fail(&r, cases[i].kind, cases[i].words);
        rig_close(&r);
    }
}

static void test_keys_of_a_program_without_an_end_stay(void **state)
{
    (void)state;
    struct creds_rig r;
    uint8_t scope[32], zero[32] = {0};
    use_program(&r, "echo '{\"Version\": 1, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"s\"}'");
    must_find(&r);
    assert_int_equal(creds_scope(r.creds, scope, &r.err), 0);
    assert_memory_not_equal(scope, zero, 32);
    must_get(&r, "A", "s", NULL);
    r.now_ms += INT64_C(1000000) * MINUTE_MS;
    creds_keys_release(&r.keys);
    assert_true(creds_peek(r.creds, &r.keys));
    assert_string_equal(creds_describe(r.creds), "profile 'dev'");
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_of_the_credentials_file_come_before_those_of_the_configuration),
        cmocka_unit_test(test_the_default_profile_is_used_unnamed_and_may_lack_the_word_profile),
        cmocka_unit_test(test_files_are_found_where_variables_say),
        cmocka_unit_test(test_the_environments_region_comes_before_the_profiles),
        cmocka_unit_test(test_a_profile_without_credentials_lets_the_chain_go_on),
        cmocka_unit_test(test_a_profile_that_there_is_not_is_an_error_with_the_nearest_name),
        cmocka_unit_test(test_broken_profiles_are_errors_that_name_what_is_wrong),
        cmocka_unit_test(test_profiles_that_name_each_other_without_end_are_refused),
        cmocka_unit_test(test_a_program_gives_keys_that_are_kept_until_their_end),
        cmocka_unit_test(test_a_program_that_gives_no_keys_is_an_error_without_its_words),
        cmocka_unit_test(test_keys_of_a_program_without_an_end_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
