/* The list of a snapshot. What is decoded is what would be encoded; and any set of paths either is refused or becomes a
 * list in which nothing lies below a file, that decodes to itself and has the same id in any order. */
#include "cache/cache_priv.h"

#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

#define TEXT_MAX  ((size_t)1 << 20)
#define PATHS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct span text)
{
    struct err err = ERR_INIT;
    struct tree t;
    if (tree_decode(text, &t, &err) < 0) {
        MUST(err.kind == ERR_CORRUPT);
        return;
    }
    AUTO_BUF again;
    buf_init(&again, TEXT_MAX);
    MUST(tree_encode(&t, &again, &err) == 0);
    struct tree back;
    MUST(tree_decode(buf_span(&again), &back, &err) == 0);
    MUST(back.n == t.n && back.files == t.files && back.links == t.links && back.bytes == t.bytes);
    tree_release(&back);
    tree_release(&t);
}

static int encode(const struct cache_tree *in, struct buf *out, char id[SNAPSHOT_ID_MAX], struct err *err)
{
    AUTO(tree_release) struct tree t = {0};
    if (tree_sort(in, &t, err) < 0)
        return -1;
    MUST(tree_encode(&t, out, err) == 0);
    MUST(tree_id(buf_span(out), id, err) == 0);
    return 0;
}

/* Lines are paths; those that begin with '=' are folders, those with a '>' in them links. */
static void build(char *text)
{
    struct cache_file files[PATHS_MAX], backwards[PATHS_MAX];
    const char *folders[PATHS_MAX];
    struct cache_link links[PATHS_MAX];
    struct cache_tree in = {.files = files, .folders = folders, .links = links};
    char *rest = text, *line;
    for (size_t n = 0; n < PATHS_MAX && (line = strsep(&rest, "\n")); n++) {
        char *to = strchr(line, '>');
        if (to)
            *to++ = '\0';
        if (to)
            links[in.link_count++] = (struct cache_link){line, to};
        else if (*line == '=')
            folders[in.folder_count++] = line + 1;
        else
            files[in.file_count++] = (struct cache_file){line, "r0123456789abcdef0123456789abcdef", in.file_count};
    }
    for (size_t i = 0; i < in.file_count; i++)
        backwards[in.file_count - 1 - i] = files[i];
    struct err err = ERR_INIT, second = ERR_INIT;
    char id[SNAPSHOT_ID_MAX], same[SNAPSHOT_ID_MAX];
    AUTO_BUF list, other;
    buf_init(&list, TEXT_MAX);
    buf_init(&other, TEXT_MAX);
    int rc = encode(&in, &list, id, &err);
    in.files = backwards;
    MUST(encode(&in, &other, same, &second) == rc);
    if (rc < 0)
        return;
    MUST(str_eq(id, same));
    struct tree t;
    MUST(tree_decode(buf_span(&list), &t, &err) == 0);
    MUST(t.files == in.file_count && t.links == in.link_count);
    tree_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > TEXT_MAX / 4)
        return 0;
    decode((struct span){(const char *)data, size});
    char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    build(text);
    free(text);
    return 0;
}
