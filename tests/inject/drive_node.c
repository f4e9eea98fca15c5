/* What a node keeps of itself: id, token, key pair, what it holds, its last messages. Whatever fails, a node that
 * starts again is the same one, and what it was told is kept is kept whole. */
#include "drive.h"

#include "base/fs.h"
#include "node/node_priv.h"

#include <stdio.h>
#include <string.h>

#define TOKEN    "berth_n_canary"
#define JOB      "j-aaaaaaaaaaaaaaaaaaaaaaaa"
#define SNAPSHOT "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static char folder[256];
static const struct input input = {.kind = SOURCE_HF, .hf = {.repo = "o/n"}};
static struct { /* said to be done */
    bool opened, token, hold, will;
    char id[NODE_ID_MAX];
    uint8_t public_key[SEAL_PUBLIC_BYTES];
} told;

static int prepare(const char *dir)
{
    snprintf(folder, sizeof folder, "%s/state", dir);
    return 0;
}

static void describe(struct node *n, const struct node_opts *opts)
{
    *n = (struct node){.opts = opts, .state_fd = -1, .lock_fd = -1};
}

static void end(struct node *n)
{
    holds_release(&n->holds);
    seal_pair_free(n->pair);
    auto_close(&n->lock_fd);
    auto_close(&n->state_fd);
}

static int keep_hold(struct node *n, struct err *err)
{
    AUTO_JSON staged = json_object();
    if (json_put_str(staged, "snapshot", SNAPSHOT, err) < 0 || json_put_u64(staged, "bytes", 1, err) < 0 ||
        holds_open(&n->holds, n->state_fd, err) < 0 || holds_note(&n->holds, &input, staged, err) < 0)
        return -1;
    told.hold = true;
    return 0;
}

static int keep_will(struct node *n, struct err *err)
{
    struct execution e = {.node = n, .job = JOB, .tag = JOB "-0-1", .epoch = 1};
    AUTO_JSON last = exec_ref(&e, err);
    if (!last || will_write(&e, NULL, err) < 0 || json_put_str(last, "outcome", "succeeded", err) < 0 ||
        will_write(&e, last, err) < 0)
        return -1;
    told.will = true;
    return 0;
}

static int run(struct err *err)
{
    const struct node_opts opts = {.state_dir = folder, .token = TOKEN};
    struct node n;
    describe(&n, &opts);
    int rc = identity_open(&n, err);
    if (rc == 0) {
        told.opened = true;
        snprintf(told.id, sizeof told.id, "%s", n.id);
        memcpy(told.public_key, seal_pair_public(n.pair), SEAL_PUBLIC_BYTES);
        rc = identity_keep_given(&n, err);
    }
    told.token = rc == 0;
    if (rc == 0)
        rc = keep_hold(&n, err) < 0 || keep_will(&n, err) < 0 ? -1 : 0;
    end(&n);
    return rc;
}

/* ---- afterwards */

static bool token_is_there(const struct node *n, struct err *err)
{
    char *token = identity_token(n, err);
    bool well = str_eq(token, TOKEN);
    str_free_secret(token);
    return well;
}

/* Either of both messages, whole; the last one where it was kept. */
static bool will_is_there(const struct node *n, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, 1u << 16);
    if (fs_read_file(n->state_fd, "wills/" JOB "-0-1.json", 1u << 16, &text, err) < 0)
        return !told.will;
    AUTO_JSON will = json_parse(buf_span(&text), err);
    const char *outcome = json_get_str(will, "outcome");
    return str_eq(outcome, "succeeded") || (!told.will && str_eq(outcome, "failed"));
}

static bool is_the_same(struct node *n, struct err *err)
{
    struct err none = ERR_INIT;
    if (told.opened &&
        (!str_eq(n->id, told.id) || memcmp(seal_pair_public(n->pair), told.public_key, SEAL_PUBLIC_BYTES) != 0))
        return false;
    if (holds_open(&n->holds, n->state_fd, err) < 0 || (told.hold && n->holds.n != 1))
        return false;
    return (!told.token || token_is_there(n, err)) && will_is_there(n, &none);
}

static bool check(bool succeeded)
{
    const struct node_opts opts = {.state_dir = folder};
    struct err err = ERR_INIT;
    struct node n;
    describe(&n, &opts);
    bool well = identity_open(&n, &err) == 0 && is_the_same(&n, &err);
    if (!well)
        fprintf(stderr, "it is not the same node any more: %s\n", err.text);
    end(&n);
    return well && (!succeeded || (told.opened && told.token && told.hold && told.will));
}

const struct work work_node = {"node", prepare, run, check};
