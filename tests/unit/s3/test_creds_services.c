/* The sources that ask services: what is sent to each, and what becomes of its answers. */
#include "creds_rig.h"

#include "s3/creds_sts.h"

#define STS_KEYS(id, end)                                                                                              \
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>"      \
    "<Arn>arn</Arn></AssumedRoleUser><Credentials><AccessKeyId>" id "</AccessKeyId><SecretAccessKey>s-" id             \
    "</SecretAccessKey><SessionToken>t-" id "</SessionToken><Expiration>" end "</Expiration></Credentials>"            \
    "</AssumeRoleResult></AssumeRoleResponse>"
#define STS_FAULT(code, message)                                                                                       \
    "<ErrorResponse><Error><Type>Sender</Type><Code>" code "</Code><Message>" message                                  \
    "</Message></Error><RequestId>r</RequestId></ErrorResponse>"
#define ONE "2030-06-01T13:00:00Z"

/* ---- AssumeRole ---- */

#define ROLE_CONFIG                                                                                                    \
    "[profile dev]\nrole_arn = arn:aws:iam::123456789012:role/reader\nsource_profile = base\n"                         \
    "external_id = canary id/1\nrole_session_name = me@work\nduration_seconds = 900\nregion = eu-west-1\n"             \
    "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = canary-base\n"                              \
    "aws_session_token = canary-token\n"

static void use_role(struct creds_rig *r, const char *config)
{
    rig_serve(r);
    rig_write(r, ".aws/config", "%s", config);
    rig_set(r, "AWS_PROFILE", "dev");
    rig_set(r, "AWS_ENDPOINT_URL_STS", "%s", r->url);
}

static void test_a_role_is_asked_for_with_the_source_profiles_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, STS_KEYS("ASIA1", ONE));
    use_role(&r, ROLE_CONFIG);
    must_find(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 1);
    assert_true(rig_sent(&r, 0, "POST / HTTP/1.1\r\n"));
    assert_true(rig_sent(&r, 0, "Action=AssumeRole&Version=2011-06-15"));
    assert_true(rig_sent(&r, 0, "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader"));
    assert_true(rig_sent(&r, 0, "&ExternalId=canary%20id%2F1"));
    assert_true(rig_sent(&r, 0, "&RoleSessionName=me%40work"));
    assert_true(rig_sent(&r, 0, "&DurationSeconds=900"));
    assert_true(rig_sent(&r, 0, "Credential=AKIABASE/"));
    assert_true(rig_sent(&r, 0, "/eu-west-1/sts/aws4_request"));
    assert_true(rig_sent(&r, 0, "canary-token")); /* in its header */
    assert_false(rig_sent(&r, 0, "canary-base"));
    assert_false(rig_sent_in_line(&r, 0, "canary"));
    assert_string_equal(creds_describe(r.creds), "profile 'dev' (arn:aws:iam::123456789012:role/reader)");
    rig_close(&r);
}

static void test_roles_can_stand_on_roles(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, STS_KEYS("ASIA1", ONE));
    rig_answer(&r, 200, STS_KEYS("ASIA2", ONE));
    use_role(&r, "[profile dev]\nrole_arn = arn:two\nsource_profile = mid\n"
                 "[profile mid]\nrole_arn = arn:one\ncredential_source = Environment\n");
    rig_set(&r, "AWS_ACCESS_KEY_ID", "AKIAENV");
    rig_set(&r, "AWS_SECRET_ACCESS_KEY", "s");
    const struct creds_opts opts = {.ambient = true, .profile = "dev"};
    assert_int_equal(rig_find(&r, &opts), 0);
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    loopback_stop(r.server);
    assert_true(rig_sent(&r, 0, "arn%3Aone") && rig_sent(&r, 0, "Credential=AKIAENV/"));
    assert_true(rig_sent(&r, 1, "arn%3Atwo") && rig_sent(&r, 1, "Credential=ASIA1/") && rig_sent(&r, 1, "t-ASIA1"));
    rig_close(&r);
}

static void test_a_profile_may_ask_for_a_role_with_its_own_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, STS_KEYS("ASIA1", ONE));
    use_role(&r, "[profile dev]\nrole_arn = arn:x\nsource_profile = dev\naws_access_key_id = AKIASELF\n"
                 "aws_secret_access_key = s\n");
    must_find(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    loopback_stop(r.server);
    assert_true(rig_sent(&r, 0, "Credential=AKIASELF/"));
    assert_true(rig_sent(&r, 0, "&RoleSessionName=berth-"));
    assert_true(rig_sent(&r, 0, "/us-east-1/sts/"));
    rig_close(&r);
}

static void test_refusals_of_sts_are_told_without_secrets(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body, *words;
        enum err_kind kind;
    } cases[] = {
        {403, STS_FAULT("AccessDenied", "User x is not authorized"), "AccessDenied: User x is not", ERR_DENIED},
        {403, STS_FAULT("SignatureDoesNotMatch", "x-amz-security-token:canary-token"), "SignatureDoesNotMatch",
         ERR_DENIED},
        {400, STS_FAULT("Unheard", "canary"), "HTTP 400 Unheard", ERR_DENIED},
        {403, "<html>canary", "HTTP 403", ERR_DENIED},
        {200, "<html>canary", "malformed XML", ERR_PROTOCOL},
        {200, "<A><B><Credentials><AccessKeyId>x</AccessKeyId></Credentials></B></A>", "lacks keys", ERR_PROTOCOL},
        {200, "<!DOCTYPE a [<!ENTITY b \"canary\">]><a>&b;</a>", "document type", ERR_PROTOCOL},
        {200, STS_KEYS("ASIA1", "some day"), "not a date", ERR_PROTOCOL},
        {301, "", "HTTP 301", ERR_DENIED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, cases[i].status, cases[i].body);
        use_role(&r, ROLE_CONFIG);
        must_fail(&r, cases[i].kind, cases[i].words);
        assert_non_null(strstr(r.err.text, "profile 'dev'"));
        assert_non_null(strstr(r.err.text, "role/reader"));
        rig_close(&r);
    }
}

static void check_endpoint(const char *variable, const char *value, const char *region, const char *url,
                           const char *signed_for)
{
    struct creds_rig r;
    struct creds_env env = {0};
    struct sts sts = {0};
    rig_open(&r);
    if (variable)
        rig_set(&r, variable, "%s", value);
    assert_int_equal(env_open(&env, (const char *const *)r.env.v, &r.err), 0);
    assert_int_equal(sts_open(&sts, &env, region, NULL, &r.err), 0);
    assert_string_equal(sts.url, url);
    assert_string_equal(sts.region, signed_for);
    sts_release(&sts);
    env_release(&env);
    rig_close(&r);
}

static void test_the_endpoint_of_sts_is_the_regions_unless_told_otherwise(void **state)
{
    (void)state;
    check_endpoint(NULL, NULL, NULL, "https://sts.amazonaws.com/", "us-east-1");
    check_endpoint(NULL, NULL, "eu-west-1", "https://sts.eu-west-1.amazonaws.com/", "eu-west-1");
    check_endpoint(NULL, NULL, "cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1");
    check_endpoint("AWS_STS_REGIONAL_ENDPOINTS", "legacy", "eu-west-1", "https://sts.amazonaws.com/", "us-east-1");
    check_endpoint("AWS_STS_REGIONAL_ENDPOINTS", "legacy", "eu-south-1", "https://sts.eu-south-1.amazonaws.com/",
                   "eu-south-1");
    check_endpoint("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "eu-west-1", "http://127.0.0.1:1", "eu-west-1");
    check_endpoint("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2", NULL, "http://127.0.0.1:2", "us-east-1");
}

/* ---- web identity ---- */

static void test_a_web_identity_token_is_sent_in_the_body_and_read_anew_each_time(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, STS_KEYS("ASIA1", ONE));
    rig_answer(&r, 200, STS_KEYS("ASIA2", "2030-06-01T14:00:00Z"));
    rig_serve(&r);
    rig_write(&r, "token", "canary.one\n");
    rig_set(&r, "AWS_WEB_IDENTITY_TOKEN_FILE", "%s/token", r.home);
    rig_set(&r, "AWS_ROLE_ARN", "arn:web");
    rig_set(&r, "AWS_ROLE_SESSION_NAME", "pod-1");
    rig_set(&r, "AWS_ENDPOINT_URL_STS", "%s/sts", r.url);
    must_find(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    rig_write(&r, "token", "canary.two");
    r.now_ms += 56 * MINUTE_MS;
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    loopback_stop(r.server);
    assert_true(rig_sent(&r, 0, "POST /sts HTTP/1.1\r\n"));
    assert_true(rig_sent(&r, 0, "Action=AssumeRoleWithWebIdentity&"));
    assert_true(rig_sent(&r, 0, "&WebIdentityToken=canary.one&"));
    assert_true(rig_sent(&r, 0, "&RoleArn=arn%3Aweb&RoleSessionName=pod-1"));
    assert_false(rig_sent(&r, 0, "Authorization"));
    assert_false(rig_sent_in_line(&r, 0, "canary"));
    assert_true(rig_sent(&r, 1, "&WebIdentityToken=canary.two&"));
    assert_string_equal(creds_describe(r.creds), "web identity (arn:web)");
    rig_close(&r);
}

static void test_broken_web_identities_are_errors_that_name_what_is_missing(void **state)
{
    (void)state;
    for (int with_role = 0; with_role < 2; with_role++) {
        struct creds_rig r;
        rig_open(&r);
        rig_set(&r, "AWS_WEB_IDENTITY_TOKEN_FILE", "%s/gone", r.home);
        if (with_role)
            rig_set(&r, "AWS_ROLE_ARN", "arn:web");
        must_fail(&r, with_role ? ERR_NOTFOUND : ERR_INVALID, with_role ? "/gone" : "AWS_ROLE_ARN is not");
        rig_close(&r);
    }
}

static void test_a_profile_may_name_a_web_identity(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, STS_KEYS("ASIA1", ONE));
    use_role(&r, "[profile dev]\nrole_arn = arn:web\nweb_identity_token_file = ~/token\n");
    rig_write(&r, "token", "canary");
    must_find(&r);
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    rig_close(&r);
}

/* ---- single sign-on ---- */

/* SHA-1 of "corp", by which the AWS CLI names its file. */
#define CORP_FILE ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json"
#define SSO_CONFIG                                                                                                     \
    "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Read Only\n"                    \
    "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n"
#define SSO_KEYS                                                                                                       \
    "{\"roleCredentials\":{\"accessKeyId\":\"ASIA1\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\","                \
    "\"expiration\":1906549200000}}"

static void use_sso(struct creds_rig *r, const char *login)
{
    rig_serve(r);
    rig_write(r, ".aws/config", SSO_CONFIG);
    rig_set(r, "AWS_PROFILE", "dev");
    rig_set(r, "AWS_ENDPOINT_URL_SSO", "%s/", r->url);
    if (login)
        rig_write(r, CORP_FILE, "%s", login);
}

static void test_a_login_gives_keys_and_its_token_travels_in_a_header(void **state)
{
    (void)state;
    static const char *const logins[] = {
        "{\"accessToken\":\"canary\",\"expiresAt\":\"2999-01-01T00:00:00Z\"}",
        "{\"accessToken\":\"canary\",\"expiresAt\":\"2999-01-01T00:00:00UTC\",\"region\":\"eu-west-1\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(logins); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 200, SSO_KEYS);
        use_sso(&r, logins[i]);
        must_find(&r);
        must_get(&r, "ASIA1", "s", "t");
        loopback_stop(r.server);
        assert_true(
            rig_sent(&r, 0, "GET /federation/credentials?role_name=Read%20Only&account_id=123456789012 HTTP/1.1\r\n"));
        assert_true(rig_sent(&r, 0, "x-amz-sso_bearer_token: canary\r\n"));
        assert_false(rig_sent_in_line(&r, 0, "canary"));
        rig_close(&r);
    }
}

static void test_without_a_login_the_error_says_how_to_log_in(void **state)
{
    (void)state;
    static const struct {
        const char *login;
        const char *words;
    } cases[] = {
        {NULL, "nobody is logged in"},
        {"{\"accessToken\":\"canary\",\"expiresAt\":\"2001-01-01T00:00:00Z\"}", "the login ended at 2001"},
        {"{\"accessToken\":\"canary\",\"expiresAt\":\"2999-01-01T00:00:00Z\"}", "HTTP 401"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 401, "{\"message\":\"canary\"}");
        use_sso(&r, cases[i].login);
        must_fail(&r, ERR_DENIED, cases[i].words);
        assert_string_equal(r.err.hint, "log in: aws sso login --profile dev");
        rig_close(&r);
    }
}

static void test_a_login_file_that_makes_no_sense_is_an_error_without_its_text(void **state)
{
    (void)state;
    static const char *const logins[] = {"canary", "{\"accessToken\":\"canary\"}",
                                         "{\"accessToken\":\"canary\",\"expiresAt\":\"soon\"}",
                                         "{\"expiresAt\":\"2999-01-01T00:00:00Z\"}"};
    for (size_t i = 0; i < ARRAY_LEN(logins); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 200, SSO_KEYS);
        use_sso(&r, logins[i]);
        must_fail(&r, ERR_INVALID, "/.aws/sso/cache/");
        rig_close(&r);
    }
}

/* ---- containers ---- */

#define KEYS(id)                                                                                                       \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"s-" id "\",\"Token\":\"t-" id              \
    "\",\"Expiration\":\"" ONE "\"}"

static void test_the_container_endpoint_gets_the_token_of_the_file_before_that_of_the_variable(void **state)
{
    (void)state;
    for (int by_file = 0; by_file < 2; by_file++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 200, KEYS("ASIA1"));
        rig_serve(&r);
        rig_set(&r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "%s/v1/keys?id=7", r.url);
        rig_set(&r, "AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic canary-variable");
        if (by_file) {
            rig_write(&r, "token", "canary-file\n");
            rig_set(&r, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s/token", r.home);
        }
        must_find(&r);
        must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
        loopback_stop(r.server);
        assert_true(rig_sent(&r, 0, "GET /v1/keys?id=7 HTTP/1.1\r\n"));
        assert_true(
            rig_sent(&r, 0, by_file ? "Authorization: canary-file\r\n" : "Authorization: Basic canary-variable\r\n"));
        assert_false(rig_sent_in_line(&r, 0, "canary"));
        rig_close(&r);
    }
}

static void test_a_token_that_would_split_the_request_is_refused(void **state)
{
    (void)state;
    for (int by_file = 0; by_file < 2; by_file++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 200, KEYS("ASIA1"));
        rig_serve(&r);
        rig_set(&r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "%s/", r.url);
        rig_write(&r, "token", "canary\r\nX-Evil: 1\n");
        if (by_file)
            rig_set(&r, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "%s/token", r.home);
        else
            rig_set(&r, "AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary\r\nX-Evil: 1");
        must_fail(&r, ERR_INVALID, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
        rig_close(&r);
    }
}

static void test_keys_are_only_fetched_from_https_this_machine_and_the_orchestrators(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://keys.example/x",
        "http://127.0.0.1/x",
        "http://127.3.2.1:80/",
        "http://[::1]:8080/",
        "http://169.254.170.2/v2/x",
        "http://localhost/",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/c/",
        "http://0x7f.1/",
    };
    static const char *const bad[] = {
        "http://keys.example/x",
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://127.0.0.1.evil.example/",
        "http://169.254.170.2.nip/",
        "http://localhost.evil/",
        "ftp://127.0.0.1/",
        "http://a:b@127.0.0.1/",
        "http://[::2]/",
        "/v2/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err err = ERR_INIT;
        if (container_check_url(good[i], &err) < 0)
            fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        if (container_check_url(bad[i], &err) == 0)
            fail_msg("%s", bad[i]);
    }
}

static void test_a_container_endpoint_that_is_not_allowed_is_an_error_at_once(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_set(&r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://keys.example/?t=canary");
    must_fail(&r, ERR_REFUSED, "container credentials: keys are not fetched from keys.example");
    rig_close(&r);
}

static void test_pods_at_one_address_have_scopes_of_their_own(void **state)
{
    (void)state;
    uint8_t scopes[2][32];
    for (int i = 0; i < 2; i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, 200, i ? KEYS("ASIA1") : KEYS("ASIA2"));
        rig_serve(&r);
        rig_set(&r, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "%s/", r.url);
        must_find(&r);
        assert_int_equal(creds_scope(r.creds, scopes[i], &r.err), 0);
        rig_close(&r);
    }
    assert_memory_not_equal(scopes[0], scopes[1], 32);
}

/* ---- EC2 ---- */

static void use_instance(struct creds_rig *r)
{
    rig_serve(r);
    rig_set(r, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "%s/", r->url);
    for (size_t i = 0; i < r->env.n; i++) /* the rig's own protection */
        if (strncmp(r->env.v[i], "AWS_EC2_METADATA_DISABLED", 25) == 0)
            strcpy(r->env.v[i], "X=");
}

static void test_an_instance_gives_a_token_then_its_role_then_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, "canary-token");
    rig_answer(&r, 200, "reader\n");
    rig_answer(&r, 200, KEYS("ASIA1"));
    use_instance(&r);
    must_find(&r);
    assert_false(creds_anonymous(r.creds));
    must_get(&r, "ASIA1", "s-ASIA1", "t-ASIA1");
    assert_string_equal(creds_describe(r.creds), "EC2 instance metadata");
    loopback_stop(r.server);
    assert_int_equal(r.script.request_count, 3);
    assert_true(rig_sent(&r, 0, "PUT /latest/api/token HTTP/1.1\r\n"));
    assert_true(rig_sent(&r, 0, "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"));
    assert_true(rig_sent(&r, 1, "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\n"));
    assert_true(rig_sent(&r, 1, "X-aws-ec2-metadata-token: canary-token\r\n"));
    assert_true(rig_sent(&r, 2, "GET /latest/meta-data/iam/security-credentials/reader HTTP/1.1\r\n"));
    assert_true(rig_sent(&r, 2, "X-aws-ec2-metadata-token: canary-token\r\n"));
    rig_close(&r);
}

static void test_a_machine_without_role_or_service_is_anonymous(void **state)
{
    (void)state;
    static const struct {
        int token_status, role_status;
        const char *role;
        enum loopback_then then;
    } cases[] = {
        {200, 404, "", LOOPBACK_KEEP},                              /* no role */
        {200, 200, "", LOOPBACK_KEEP}, {403, 0, "", LOOPBACK_KEEP}, /* switched off */
        {404, 0, "", LOOPBACK_KEEP},                                /* something else answers there */
        {200, 0, "", LOOPBACK_RESET},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        rig_open(&r);
        rig_answer(&r, cases[i].token_status, "token");
        r.steps[0].then = cases[i].then;
        if (cases[i].then == LOOPBACK_RESET)
            r.steps[0].answer = "";
        if (cases[i].role_status)
            rig_answer(&r, cases[i].role_status, cases[i].role);
        use_instance(&r);
        must_find(&r);
        assert_true(creds_anonymous(r.creds));
        assert_int_equal(rig_get(&r), 0);
        assert_null(r.keys.keys.access_key_id);
        assert_string_equal(creds_describe(r.creds), "none (anonymous)");
        loopback_stop(r.server);
        assert_int_equal(r.script.request_count, r.step_count); /* and is not asked twice */
        rig_close(&r);
    }
}

static void test_an_instance_whose_role_has_no_keys_is_an_error_and_not_anonymous(void **state)
{
    (void)state;
    static const struct {
        const char *role;
        int status;
        const char *keys, *words;
    } cases[] = {
        {"reader", 403, "canary", "security-credentials/reader: HTTP 403"},
        {"reader", 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"canary\"}",
         "'AssumeRoleUnauthorizedAccess'"},
        {"reader", 200, "canary", "JSON"},
        {"<html>", 0, NULL, "not the name of a role"},
        {"../../user-data", 0, NULL, "not the name of a role"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct creds_rig r;
        rig_open(&r);
        for (int question = 0; question < 2; question++) { /* each starts anew */
            rig_answer(&r, 200, "token");
            rig_answer(&r, 200, cases[i].role);
            if (cases[i].keys)
                rig_answer(&r, cases[i].status, cases[i].keys);
        }
        use_instance(&r);
        must_find(&r);
        assert_false(creds_anonymous(r.creds));
        assert_int_equal(rig_get(&r), -1);
        loopback_stop(r.server);
        assert_int_equal(r.script.request_count, r.step_count);
        if (!strstr(r.err.text, "EC2 instance metadata") || !strstr(r.err.text, cases[i].words))
            fail_msg("%s", r.err.text);
        assert_null(strstr(r.err.text, "canary"));
        rig_close(&r);
    }
}

static void test_instance_metadata_can_be_switched_off(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, "token");
    use_instance(&r);
    rig_set(&r, "AWS_EC2_METADATA_DISABLED", "True");
    must_find(&r);
    assert_true(creds_anonymous(r.creds));
    loopback_stop(r.server);
    assert_int_equal(loopback_connections(r.server), 0);
    rig_close(&r);
}

static void test_a_role_on_an_instances_keys(void **state)
{
    (void)state;
    struct creds_rig r;
    rig_open(&r);
    rig_answer(&r, 200, "token");
    rig_answer(&r, 200, "reader");
    rig_answer(&r, 200, KEYS("ASIA1"));
    rig_answer(&r, 200, STS_KEYS("ASIA2", ONE));
    use_instance(&r);
    rig_write(&r, ".aws/config", "[default]\nrole_arn = arn:x\ncredential_source = Ec2InstanceMetadata\n");
    rig_set(&r, "AWS_ENDPOINT_URL_STS", "%s", r.url);
    must_find(&r);
    must_get(&r, "ASIA2", "s-ASIA2", "t-ASIA2");
    rig_close(&r);
}

static void test_firmware_tells_ec2_from_other_machines(void **state)
{
    (void)state;
    static const struct {
        struct dmi dmi;
        bool ruled_out;
    } cases[] = {
        {{"Amazon EC2", "Amazon EC2", "Amazon EC2", "1.0"}, false},
        {{"Xen", "", "Xen", "4.11.amazon"}, false},
        {{"Xen", "", "Xen", ""}, false}, /* of old, could be */
        {{"", "", "", ""}, false},       /* nothing known */
        {{"LENOVO", "LENOVO", "LENOVO", "N1CET"}, true},
        {{"Google", "Google", "Google", "Google"}, true},
        {{"QEMU", "", "SeaBIOS", "1.16"}, true},
        {{"Microsoft Corporation", "", "", ""}, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (dmi_rules_out_ec2(&cases[i].dmi) != cases[i].ruled_out)
            fail_msg("%s", cases[i].dmi.sys_vendor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_role_is_asked_for_with_the_source_profiles_keys),
        cmocka_unit_test(test_roles_can_stand_on_roles),
        cmocka_unit_test(test_a_profile_may_ask_for_a_role_with_its_own_keys),
        cmocka_unit_test(test_refusals_of_sts_are_told_without_secrets),
        cmocka_unit_test(test_the_endpoint_of_sts_is_the_regions_unless_told_otherwise),
        cmocka_unit_test(test_a_web_identity_token_is_sent_in_the_body_and_read_anew_each_time),
        cmocka_unit_test(test_broken_web_identities_are_errors_that_name_what_is_missing),
        cmocka_unit_test(test_a_profile_may_name_a_web_identity),
        cmocka_unit_test(test_a_login_gives_keys_and_its_token_travels_in_a_header),
        cmocka_unit_test(test_without_a_login_the_error_says_how_to_log_in),
        cmocka_unit_test(test_a_login_file_that_makes_no_sense_is_an_error_without_its_text),
        cmocka_unit_test(test_the_container_endpoint_gets_the_token_of_the_file_before_that_of_the_variable),
        cmocka_unit_test(test_a_token_that_would_split_the_request_is_refused),
        cmocka_unit_test(test_keys_are_only_fetched_from_https_this_machine_and_the_orchestrators),
        cmocka_unit_test(test_a_container_endpoint_that_is_not_allowed_is_an_error_at_once),
        cmocka_unit_test(test_pods_at_one_address_have_scopes_of_their_own),
        cmocka_unit_test(test_an_instance_gives_a_token_then_its_role_then_keys),
        cmocka_unit_test(test_a_machine_without_role_or_service_is_anonymous),
        cmocka_unit_test(test_an_instance_whose_role_has_no_keys_is_an_error_and_not_anonymous),
        cmocka_unit_test(test_instance_metadata_can_be_switched_off),
        cmocka_unit_test(test_a_role_on_an_instances_keys),
        cmocka_unit_test(test_firmware_tells_ec2_from_other_machines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
