/* registry_auth: which credentials a registry gets, and the X-Registry-Auth header that carries them to the engine.
 *
 * From the job, else from Docker's own config.json: `credHelpers` of that registry, `credsStore`, `auths`, in this
 * order, as Docker's CLI does. Helpers are the programs docker-credential-<name>, run without a shell: the registry
 * goes in by stdin, JSON comes out (docker-credential-helpers protocol). The header is the base64url form of a JSON
 * object (Docker Engine API v1.41, "Authentication"). Secrets are in no error and no log, and are wiped. */
#ifndef BERTH_ENGINE_REGISTRY_AUTH_H
#define BERTH_ENGINE_REGISTRY_AUTH_H

#include "base/buf.h"
#include "base/cancel.h"
#include "base/json.h"
#include "engine/engine.h"

#define AUTH_FIELD_MAX  ((size_t)32 << 10) /* identity tokens can be long */
#define AUTH_HEADER_MAX ((size_t)128 << 10)

/* Owned strings; wiped on release. All NULL: no credentials. */
struct registry_login {
    char *username, *password;
    char *identity_token; /* instead of the two */
};
void registry_login_release(struct registry_login *l);

/* Asks the helper `name` for `server`. 0 with an empty *out where it knows nothing of it. */
typedef int (*registry_helper_fn)(void *ctx, const char *name, const char *server, struct registry_login *out,
                                  struct err *err);

/* Look a registry up in the parsed config.json. Pure but for `helper`. */
int registry_auth_find(const json_t *config, const char *registry, registry_helper_fn helper, void *ctx,
                       struct registry_login *out, struct err *err);

/* The header's value for `registry`; left empty where there are no credentials. `given` may be NULL; `given_only`: this
 * machine's own are not looked for. The caller wipes `header`. */
int registry_auth_header(const struct engine_registry_auth *given, bool given_only, const char *registry,
                         const struct cancel *cancel, struct buf *header, struct err *err);

void buf_wipe(struct buf *b); /* overwrite and release */

#endif
