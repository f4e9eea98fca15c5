/* What makes a node the same after a restart: its id, its token, its key pair. */
#include "node/node_priv.h"

#include "base/fs.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>

#define ID_NAME     "node-id"
#define TOKEN_NAME  "token"
#define PAIR_NAME   "key-pair"
#define LOCK_NAME   "lock"
#define ID_FILE_MAX 128

static bool exists(int dir_fd, const char *name)
{
    struct stat st;
    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int lock_folder(struct node *n, struct err *err)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    n->lock_fd = fs_open_beneath(n->state_fd, LOCK_NAME, O_RDWR | O_CREAT, 0600, err);
    if (n->lock_fd < 0)
        return -1;
    if (fcntl(n->lock_fd, F_OFD_SETLK, &all) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return err_sys(err, "lock %s", n->opts->state_dir);
    err_set(err, ERR_BUSY, "%s is another node's, which is running", n->opts->state_dir);
    return err_hint(err, "give this one another folder with --state-dir");
}

static int read_id(struct node *n, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, ID_FILE_MAX);
    if (fs_read_file(n->state_fd, ID_NAME, ID_FILE_MAX, &text, err) < 0)
        return -1;
    struct span id = span_trim(buf_span(&text));
    for (size_t i = 0; i < id.n; i++)
        if (!ascii_is_digit(id.p[i]) && !(id.p[i] >= 'a' && id.p[i] <= 'z') && id.p[i] != '-')
            id.n = 0;
    if (id.n == 0 || id.n >= sizeof n->id) {
        err_set(err, ERR_INVALID, "%s/" ID_NAME ": not the id of a node", n->opts->state_dir);
        return err_hint(err, "remove the state folder to join as another node");
    }
    snprintf(n->id, sizeof n->id, "%.*s", SPAN_FMT(id));
    return 0;
}

static int make_id(struct node *n, struct err *err)
{
    char random[RNG_ID_MAX];
    if (rng_id(random, err) < 0)
        return -1;
    int length = snprintf(n->id, sizeof n->id, "n-%.24s", random);
    return fs_replace_file(n->state_fd, ID_NAME, n->id, (size_t)length, 0600, err);
}

int identity_open(struct node *n, struct err *err)
{
    AUTO_STR pair = str_printf(err, "%s/" PAIR_NAME, n->opts->state_dir);
    if (!pair || fs_mkdirs(n->opts->state_dir, 0700, err) < 0 ||
        (n->state_fd = fs_open_dir(n->opts->state_dir, err)) < 0 || lock_folder(n, err) < 0)
        return -1;
    if ((exists(n->state_fd, ID_NAME) ? read_id : make_id)(n, err) < 0)
        return -1;
    return seal_pair_open(&n->pair, pair, true, err);
}

char *identity_token(const struct node *n, struct err *err)
{
    AUTO_STR path = str_printf(err, "%s/" TOKEN_NAME, n->opts->state_dir);
    return path && exists(n->state_fd, TOKEN_NAME) ? api_read_token(path, err) : NULL;
}

int identity_keep_given(const struct node *n, struct err *err)
{
    return exists(n->state_fd, TOKEN_NAME) ? 0 : identity_keep_token(n, n->opts->token, err);
}

int identity_keep_token(const struct node *n, const char *token, struct err *err)
{
    return fs_replace_file(n->state_fd, TOKEN_NAME, token, strlen(token), 0600, err);
}
