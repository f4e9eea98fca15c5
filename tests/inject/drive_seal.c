/* Keys made, rotated and used: whatever fails, what was sealed under a key that was given out can be opened again, and
 * nothing but the three files lies in the folder. */
#include "drive.h"

#include "base/str.h"
#include "seal/cert.h"
#include "seal/seal.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define PLAIN  "what must not be lost"
#define BOUND  SPAN_LIT("job j-1")
#define ROOM   4096
#define KEYS   "keys"
#define PAIR   "pair"
#define CERT   "cert"
#define HIDDEN '.'

static char folder[256], keys_path[300], pair_path[300], cert_path[300], fingerprint[SEAL_FINGERPRINT_MAX];
static struct {
    bool boxed, given; /* sealed under the keys, and to the pair */
    char box[ROOM], letter[ROOM];
    size_t box_n, letter_n;
} sealed;

static int prepare(const char *dir)
{
    snprintf(folder, sizeof folder, "%s", dir);
    snprintf(keys_path, sizeof keys_path, "%s/" KEYS, dir);
    snprintf(pair_path, sizeof pair_path, "%s/" PAIR, dir);
    snprintf(cert_path, sizeof cert_path, "%s/" CERT, dir);
    return 0;
}

static bool is_plain(const struct buf *text)
{
    return text->n == strlen(PLAIN) && memcmp(text->p, PLAIN, text->n) == 0;
}

static void keep(char room[ROOM], size_t *n, const struct buf *text)
{
    memcpy(room, text->p, text->n);
    *n = text->n;
}

static int seal_one(const struct seal_keys *keys, struct err *err)
{
    AUTO_BUF box;
    buf_init(&box, ROOM);
    if (seal_box(keys, SPAN_LIT(PLAIN), BOUND, &box, err) < 0)
        return -1;
    keep(sealed.box, &sealed.box_n, &box);
    sealed.boxed = true;
    return 0;
}

static int open_one(const struct seal_keys *keys, struct err *err)
{
    AUTO_BUF plain;
    buf_init(&plain, ROOM);
    if (seal_open(keys, (struct span){sealed.box, sealed.box_n}, BOUND, &plain, err) < 0)
        return -1;
    return is_plain(&plain) ? 0 : err_set(err, ERR_CORRUPT, "another text came out of the box");
}

static int use_keys(struct err *err)
{
    struct seal_keys *keys = NULL, *again = NULL;
    uint8_t subkey[SEAL_SUBKEY_BYTES];
    char grant[SEAL_GRANT_MAX];
    int rc = seal_keys_open(&keys, keys_path, true, err) < 0 || seal_one(keys, err) < 0 ||
                     seal_subkey(keys, "peer", "n-1", subkey, err) < 0 ||
                     seal_grant_make(subkey, SPAN_LIT("blob"), 1000, grant, err) < 0 ||
                     seal_grant_check(subkey, SPAN_LIT("blob"), span_of(grant), 999, err) < 0 ||
                     seal_keys_rotate(keys_path, err) < 0 || seal_keys_open(&again, keys_path, false, err) < 0 ||
                     open_one(again, err) < 0
                 ? -1
                 : 0;
    seal_keys_free(keys);
    seal_keys_free(again);
    return rc;
}

static int write_letter(const struct seal_pair *pair, struct err *err)
{
    AUTO_BUF letter;
    buf_init(&letter, ROOM);
    if (seal_to(seal_pair_public(pair), SPAN_LIT(PLAIN), &letter, err) < 0)
        return -1;
    keep(sealed.letter, &sealed.letter_n, &letter);
    sealed.given = true;
    return 0;
}

static int read_letter(const struct seal_pair *pair, struct err *err)
{
    AUTO_BUF plain;
    buf_init(&plain, ROOM);
    if (seal_from(pair, (struct span){sealed.letter, sealed.letter_n}, &plain, err) < 0)
        return -1;
    return is_plain(&plain) ? 0 : err_set(err, ERR_CORRUPT, "another text came out of the letter");
}

static int show_cert(struct err *err)
{
    struct seal_cert cert;
    if (seal_cert_open(&cert, cert_path, err) < 0)
        return -1;
    memcpy(fingerprint, cert.fingerprint, sizeof fingerprint);
    seal_cert_wipe(&cert);
    return 0;
}

static int run(struct err *err)
{
    struct seal_pair *pair = NULL;
    int rc = use_keys(err) < 0 ? -1 : show_cert(err);
    if (rc == 0)
        rc = seal_pair_open(&pair, pair_path, true, err);
    if (rc == 0)
        rc = write_letter(pair, err) < 0 || read_letter(pair, err) < 0 ? -1 : 0;
    seal_pair_free(pair);
    return rc;
}

static bool nothing_else(void)
{
    DIR *d = opendir(folder);
    bool well = d != NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == HIDDEN || str_eq(e->d_name, KEYS) || str_eq(e->d_name, PAIR) || str_eq(e->d_name, CERT))
            continue;
        fprintf(stderr, "%s is left over\n", e->d_name);
        well = false;
    }
    if (d)
        closedir(d);
    return well;
}

/* Others know a node by it. */
static bool has_its_cert(struct err *err)
{
    struct seal_cert cert;
    bool same = seal_cert_open(&cert, cert_path, err) == 0 && str_eq(cert.fingerprint, fingerprint);
    seal_cert_wipe(&cert);
    return same;
}

/* A file that is there is whole: it is opened without being made. */
static bool check(bool succeeded)
{
    struct err err = ERR_INIT;
    struct seal_keys *keys = NULL;
    struct seal_pair *pair = NULL;
    bool well = true;
    if (sealed.boxed)
        well = seal_keys_open(&keys, keys_path, false, &err) == 0 && open_one(keys, &err) == 0;
    if (well && sealed.given)
        well = seal_pair_open(&pair, pair_path, false, &err) == 0 && read_letter(pair, &err) == 0;
    if (well && *fingerprint)
        well = has_its_cert(&err);
    if (!well)
        fprintf(stderr, "what was sealed, or shown, is lost: %s\n", err.text);
    if (succeeded && !(sealed.boxed && sealed.given && *fingerprint))
        well = false;
    seal_keys_free(keys);
    seal_pair_free(pair);
    return nothing_else() && well;
}

const struct work work_seal = {"seal", prepare, run, check};
