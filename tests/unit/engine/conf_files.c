#include "conformance.h"

#include <sys/mount.h>

static void run_mounted(const struct rig *r, const struct engine_mount *mounts, size_t n, const char *script,
                        struct outcome *o)
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, script);
    c.mounts = mounts;
    c.mount_count = n;
    assert_works(rig_run(r, &c, NULL, o, &err), &err);
}

static void assert_file(int dir_fd, const char *path, const char *want)
{
    AUTO_BUF got;
    struct err err = ERR_INIT;
    buf_init(&got, 1 << 20);
    assert_works(fs_read_file(dir_fd, path, 1 << 20, &got, &err), &err);
    assert_string_equal(buf_str(&got), want);
}

/* F24 */
static void a_read_only_mount_can_be_changed_in_no_way(void **state)
{
    const struct rig *r = *state;
    struct engine_mount m = {.source = r->folder, .target = "/in"};
    struct stat st;
    struct outcome o = {0};
    rig_write(r, "file", "same", 4);
    run_mounted(r, &m, 1,
                "cat /in/file; for c in 'echo x > /in/file' 'echo x >> /in/file' 'rm /in/file' 'mv /in/file /in/g' "
                "'chmod 777 /in/file' 'chown 1 /in/file' 'touch -d 1999-01-01 /in/file' 'mkdir /in/d' 'ln -s x /in/l' "
                "'truncate -s 0 /in/file' 'mknod /in/n p' 'mount -o remount,rw /in'; do "
                "sh -c \"$c\" 2>/dev/null && echo \"done: $c\"; done; exit 0",
                &o);
    assert_string_equal(buf_str(&o.out), "same");
    assert_file(r->folder_fd, "file", "same");
    assert_int_equal(fstatat(r->folder_fd, "file", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(fstatat(r->folder_fd, "d", &st, 0), -1);
    outcome_release(&o);
}

/* F24: mount(2) makes only the outermost mount read-only. */
static void a_file_system_within_a_read_only_mount_is_read_only_too(void **state)
{
    const struct rig *r = *state;
    struct engine_mount m = {.source = r->folder, .target = "/in"};
    char inner[80];
    struct outcome o = {0};
    snprintf(inner, sizeof inner, "%s/in ner", r->folder);
    if (!rig_is_local(r))
        skip();
    assert_int_equal(mkdir(inner, 0755), 0);
    if (mount("berth-test", inner, "tmpfs", 0, "size=1m") < 0) {
        print_message("needs the right to mount\n");
        skip();
    }
    rig_write(r, "outer", "1", 1);
    AUTO_FD file = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err err = ERR_INIT;
    int wrote = fs_replace_file(file, "file", "2", 1, 0644, &err);
    run_mounted(r, &m, 1, "cat /in/outer '/in/in ner/file'; touch '/in/in ner/x' 2>/dev/null && echo written", &o);
    auto_close(&file);
    file = -1;
    umount2(inner, MNT_DETACH);
    assert_int_equal(wrote, 0);
    assert_string_equal(buf_str(&o.out), "12");
    outcome_release(&o);
}

static void a_writable_mount_is_written_to(void **state)
{
    const struct rig *r = *state;
    struct engine_mount m = {.source = r->folder, .target = "/out", .writable = true};
    struct outcome o = {0};
    run_mounted(r, &m, 1, "mkdir /out/sub && echo hi > /out/sub/file", &o);
    assert_int_equal(o.exit.exit_code, 0);
    assert_file(r->folder_fd, "sub/file", "hi\n");
    outcome_release(&o);
}

static void a_missing_source_is_refused_and_not_made(void **state)
{
    const struct rig *r = *state;
    char missing[80], id[CONTAINER_ID_MAX];
    const char *argv[4];
    struct stat st;
    struct err err = ERR_INIT;
    struct engine_container c = rig_container(r, argv, ":");
    if (!rig_is_local(r))
        skip();
    snprintf(missing, sizeof missing, "%s/missing", r->folder);
    struct engine_mount m = {.source = missing, .target = "/in"};
    c.mounts = &m;
    c.mount_count = 1;
    assert_int_equal(engine_create(r->engine, &c, id, &err), -1);
    assert_int_equal(err.kind, ERR_NOTFOUND);
    assert_contains(err.text, missing);
    assert_int_equal(stat(missing, &st), -1);
    err_clear(&err);
    m.source = "relative";
    assert_fails(engine_create(r->engine, &c, id, &err), &err, ERR_INVALID);
}

static void mounts_may_have_odd_names(void **state)
{
    const struct rig *r = *state;
    static const char *const names[] = {"a b", "c:d",    "e,f", "g\"h", "i\\j", "k\nl", "m'n",
                                        "ü",   "%41=\t", " o",  "$x",   "-p",   "~",    "{q}"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char source[96], target[96];
        struct err err = ERR_INIT;
        struct outcome o = {0};
        snprintf(source, sizeof source, "%s/%s", r->folder, names[i]);
        snprintf(target, sizeof target, "/in/%s", names[i]);
        assert_int_equal(mkdir(source, 0755), 0);
        AUTO_FD dir = fs_open_dir(source, &err);
        assert_works(fs_replace_file(dir, "file", names[i], strlen(names[i]), 0644, &err), &err);
        struct engine_mount m = {.source = source, .target = target};
        run_mounted(r, &m, 1, "cat /in/*/file; touch /in/*/x 2>/dev/null && echo written", &o);
        assert_string_equal(buf_str(&o.out), names[i]);
        outcome_release(&o);
    }
}

static void a_single_file_and_nested_targets_can_be_mounted(void **state)
{
    const struct rig *r = *state;
    char file[80];
    struct outcome o = {0};
    rig_write(r, "file", "hi", 2);
    snprintf(file, sizeof file, "%s/file", r->folder);
    assert_int_equal(mkdirat(r->folder_fd, "under", 0755), 0);
    struct engine_mount m[] = {{.source = r->folder, .target = "/data", .writable = true},
                               {.source = file, .target = "/data/under/one"}};
    run_mounted(r, m, 2, "cat /data/under/one; echo x > /data/under/one", &o);
    assert_string_equal(buf_str(&o.out), "hi");
    assert_int_not_equal(o.exit.exit_code, 0);
    outcome_release(&o);
}

/* ---- copying out ---- */

static void make_stopped(const struct rig *r, const char *script, char id[CONTAINER_ID_MAX])
{
    const char *argv[4];
    struct err err = ERR_INIT;
    struct outcome o = {0};
    struct engine_container c = rig_container(r, argv, script);
    assert_works(engine_create(r->engine, &c, id, &err), &err);
    assert_works(rig_follow(r->engine, id, NULL, &o, &err), &err);
    assert_string_equal(buf_str(&o.err), "");
    assert_int_equal(o.exit.exit_code, 0);
    outcome_release(&o);
}

static void remove_it(const struct rig *r, const char *id)
{
    struct err err = ERR_INIT;
    assert_works(engine_remove(r->engine, id, &err), &err);
}

static void copy(const struct rig *r, const char *id, const char *path, bool expect)
{
    bool found = !expect;
    struct err err = ERR_INIT;
    assert_works(engine_copy_out(r->engine, id, path, r->folder_fd, 0, &found, &err), &err);
    assert_int_equal(found, expect);
}

static void a_folder_is_copied_out_with_all_that_is_in_it(void **state)
{
    enum { FILES = 200, BIG = 32 << 20 };
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX], name[32], want[32];
    struct stat st;
    make_stopped(r,
                 "mkdir -p /out/sub/deep && cd /out && dd if=/dev/zero of=big bs=1M count=32 2>/dev/null && "
                 "for i in $(seq 200); do echo $i > sub/deep/$i; done; echo odd > 'a b\n,c'; ln -s sub/deep/7 link",
                 id);
    copy(r, id, "/out", true);
    assert_int_equal(fstatat(r->folder_fd, "big", &st, 0), 0);
    assert_int_equal(st.st_size, BIG);
    for (int i = 1; i <= FILES; i++) {
        snprintf(name, sizeof name, "sub/deep/%d", i);
        snprintf(want, sizeof want, "%d\n", i);
        assert_file(r->folder_fd, name, want);
    }
    assert_int_equal(fstatat(r->folder_fd, "a b\n,c", &st, 0), 0);
    assert_int_equal(fstatat(r->folder_fd, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(fstatat(r->folder_fd, "out", &st, 0), -1);
    remove_it(r, id);
}

static void one_file_is_copied_out_under_its_name(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    make_stopped(r, "mkdir /out; echo hi > /out/x.txt", id);
    copy(r, id, "/out/x.txt", true);
    assert_file(r->folder_fd, "x.txt", "hi\n");
    remove_it(r, id);
}

static void a_link_to_a_folder_is_followed_within_the_container(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    make_stopped(r, "mkdir /real; echo hi > /real/x; ln -s real /link; ln -s link /link2", id);
    copy(r, id, "/link2", true);
    assert_file(r->folder_fd, "x", "hi\n");
    remove_it(r, id);
}

static void a_link_to_the_host_shows_the_containers_own_file(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    make_stopped(r, "echo mine > /etc/hostlike; ln -s ../../../../../etc/hostlike /link", id);
    copy(r, id, "/link", true);
    assert_file(r->folder_fd, "hostlike", "mine\n");
    remove_it(r, id);
}

static void a_path_that_is_not_there_is_not_found(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    bool found = true;
    struct err err = ERR_INIT;
    make_stopped(r, ":", id);
    copy(r, id, "/no/such/path", false);
    remove_it(r, id);
    assert_fails(engine_copy_out(r->engine, id, "/etc", r->folder_fd, 0, &found, &err), &err, ERR_NOTFOUND);
}

static void copying_stops_at_the_limit(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    bool found = false;
    struct err err = ERR_INIT;
    make_stopped(r, "mkdir /out; dd if=/dev/zero of=/out/big bs=1M count=8 2>/dev/null", id);
    assert_fails(engine_copy_out(r->engine, id, "/out", r->folder_fd, 1 << 20, &found, &err), &err, ERR_LIMIT);
    remove_it(r, id);
}

static void what_is_not_a_file_is_left_out(void **state)
{
    const struct rig *r = *state;
    char id[CONTAINER_ID_MAX];
    struct stat st;
    make_stopped(r, "mkdir /out; echo hi > /out/x; mkfifo /out/fifo; ln -s /etc/shadow /out/away", id);
    copy(r, id, "/out", true);
    assert_file(r->folder_fd, "x", "hi\n");
    assert_int_equal(fstatat(r->folder_fd, "fifo", &st, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(fstatat(r->folder_fd, "away", &st, AT_SYMLINK_NOFOLLOW), -1);
    remove_it(r, id);
}

static const struct CMUnitTest tests[] = {
    rig_test(a_read_only_mount_can_be_changed_in_no_way),
    rig_test(a_file_system_within_a_read_only_mount_is_read_only_too),
    rig_test(a_writable_mount_is_written_to),
    rig_test(a_missing_source_is_refused_and_not_made),
    rig_test(mounts_may_have_odd_names),
    rig_test(a_single_file_and_nested_targets_can_be_mounted),
    rig_test(a_folder_is_copied_out_with_all_that_is_in_it),
    rig_test(one_file_is_copied_out_under_its_name),
    rig_test(a_link_to_a_folder_is_followed_within_the_container),
    rig_test(a_link_to_the_host_shows_the_containers_own_file),
    rig_test(a_path_that_is_not_there_is_not_found),
    rig_test(copying_stops_at_the_limit),
    rig_test(what_is_not_a_file_is_left_out),
};
const struct part part_files = {tests, ARRAY_LEN(tests)};
