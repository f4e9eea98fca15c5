/* docs/openapi.json, as it is built in, beside the tables that the server goes by. */
#include "server/server_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>

static const struct route_about *const tables[] = {routes_jobs, routes_markets, routes_nodes, routes_agent,
                                                   routes_self};

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    for (const struct server_page *p = server_pages; p->path; p++)
        if (str_eq(p->path, "/api/v1/openapi.json"))
            *state = json_parse(p->bytes, &err);
    assert_non_null(*state);
    return 0;
}

static int tear_down(void **state)
{
    json_decref(*state);
    return 0;
}

static const json_t *operation(const json_t *doc, const struct route_about *r)
{
    char method[16] = "";
    for (size_t i = 0; r->method[i] && i < sizeof method - 1; i++)
        method[i] = (char)tolower((unsigned char)r->method[i]);
    return json_object_get(json_object_get(json_object_get(doc, "paths"), r->pattern), method);
}

static const json_t *follow(const json_t *doc, const json_t *schema)
{
    const char *ref = json_get_str(schema, "$ref");
    return ref ? json_object_get(json_object_get(json_object_get(doc, "components"), "schemas"), strrchr(ref, '/') + 1)
               : schema;
}

static const json_t *body_of(const json_t *doc, const json_t *op)
{
    const json_t *content = json_object_get(json_object_get(op, "requestBody"), "content");
    return follow(doc, json_object_get(json_object_get(content, "application/json"), "schema"));
}

static void every_route_is_described(void **state)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct route_about *r = tables[t]; r->method; r++)
            if (!operation(*state, r))
                fail_msg("%s %s is not described", r->method, r->pattern);
}

static void nothing_is_described_that_is_not_there(void **state)
{
    size_t described = 0, there = 1; /* the description itself is a page */
    const char *path, *method;
    json_t *operations, *op;
    json_object_foreach(json_object_get(*state, "paths"), path, operations) json_object_foreach(operations, method, op)
        described++;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct route_about *r = tables[t]; r->method; r++)
            there++;
    assert_int_equal(described, there);
}

static bool names(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (str_eq(json_string_value(json_array_get(list, i)), word))
            return true;
    return false;
}

static void roles_are_described_as_they_are(void **state)
{
    static const char *const words[] = {
#define X(name, word, letter) word,
        MARKET_ROLES(X)
#undef X
    };
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct route_about *r = tables[t]; r->method; r++)
            for (unsigned role = 0; role < ARRAY_LEN(words); role++)
                if (!!(r->roles & (1u << role)) != names(json_object_get(operation(*state, r), "x-roles"), words[role]))
                    fail_msg("%s %s: %s", r->method, r->pattern, words[role]);
}

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static void bodies_have_the_members_that_are_taken(void **state)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct route_about *r = tables[t]; r->method; r++) {
            const json_t *props = json_object_get(body_of(*state, operation(*state, r)), "properties");
            assert_int_equal(!!r->members, !!props);
            for (size_t i = 0; i < count(r->members); i++)
                if (!json_object_get(props, r->members[i]))
                    fail_msg("%s %s: %s is not described", r->method, r->pattern, r->members[i]);
            size_t more = r->members ? 1 + (r->node_message ? 1 : 0) : 0; /* version, node */
            assert_int_equal(json_object_size(props), count(r->members) + more);
        }
}

static void queries_are_described(void **state)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct route_about *r = tables[t]; r->method; r++) {
            const json_t *params = json_object_get(operation(*state, r), "parameters");
            size_t n = 0;
            for (size_t i = 0; i < json_array_size(params); i++)
                n += str_eq(json_get_str(json_array_get(params, i), "in"), "query");
            if (n != count(r->queries))
                fail_msg("%s %s: %zu queries described, %zu taken", r->method, r->pattern, n, count(r->queries));
        }
}

static void every_reference_leads_somewhere(void **state)
{
    /* A name that does not resolve would be found by follow() only where a test looks. */
    const json_t *schemas = json_object_get(json_object_get(*state, "components"), "schemas");
    struct err err = ERR_INIT;
    AUTO_BUF text;
    buf_init(&text, 1u << 20);
    assert_int_equal(json_write(*state, false, &text, &err), 0);
    const char *at = buf_str(&text), *prefix = "#/components/schemas/";
    size_t seen = 0;
    while ((at = strstr(at, prefix))) {
        char name[64] = "";
        at += strlen(prefix);
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "\""), at);
        assert_non_null(json_object_get(schemas, name));
        seen++;
    }
    assert_true(seen > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_route_is_described, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_described_that_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(roles_are_described_as_they_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_have_the_members_that_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queries_are_described, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_reference_leads_somewhere, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
