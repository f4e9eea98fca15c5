/* berth doctor: what on this machine would keep a job from running, and how to mend it. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/network.h"
#include "cli/table.h"
#include "cli/wiring.h"
#include "s3/creds.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/timex.h>

#define FILES_WANTED  1024
#define SPACE_WANTED  (UINT64_C(5) << 30)
#define CLOCK_SKEW_MS (5 * 60 * 1000) /* S3 refuses signatures 15 minutes off; warn well before */

enum health { HEALTH_OK, HEALTH_NOTE, HEALTH_BAD };

struct report {
    json_t *rows;
    bool bad;
};

static void add(struct report *r, const char *what, enum health h, const char *hint, const char *fmt, ...)
    ATTR_PRINTF(5, 6);
static void add(struct report *r, const char *what, enum health h, const char *hint, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "note", "bad"};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err ignored = ERR_INIT; /* out of memory: the row is missing */
    json_t *row = json_object();
    json_put_str(row, "check", what, &ignored);
    json_put_str(row, "state", words[h], &ignored);
    json_put_str(row, "found", text, &ignored);
    json_put_str(row, "hint", hint, &ignored);
    json_array_append_new(r->rows, row);
    r->bad |= h == HEALTH_BAD;
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

static void check_network(struct report *r, const struct cli *cli, struct engine *engine)
{
    enum run_network network;
    char text[NETWORK_TEXT_MAX];
    struct err err = ERR_INIT;
    if (network_of(cli->config, &network, &err) < 0)
        add(r, "node network", HEALTH_BAD, err.hint, "%s", err.text);
    else if (network_describe(engine, network, text))
        add(r, "node network", HEALTH_OK, NULL, "%s", text);
    else
        add(r, "node network", HEALTH_NOTE, "only for `berth node start`: run it as root, with the package nftables",
            "%s", text);
}

static void check_engine(struct report *r, const struct cli *cli)
{
    struct wiring w = {0};
    struct err err = ERR_INIT;
    struct engine_info info;
    if (wiring_open_engine(&w, cli, &err) < 0 || engine_info(w.engine, &info, &err) < 0) {
        add(r, "engine", HEALTH_BAD,
            err.hint[0] ? err.hint : "install docker.io or podman, or name one with --set engine=…", "%s", err.text);
    } else {
        char memory[HUMAN_MAX];
        add(r, "engine", HEALTH_OK, NULL, "%s %s (API %s) at %s, %u CPUs, %s%s", info.name, info.version,
            info.api_version, info.address, info.cpus, human_bytes(memory, info.memory_bytes),
            info.rootless ? ", rootless" : "");
        add(r, "gpu", info.gpu_nvidia ? HEALTH_OK : HEALTH_NOTE,
            info.gpu_nvidia ? NULL : "jobs that ask for one need --no-gpu, or the NVIDIA container toolkit", "%s",
            info.gpu_nvidia ? "NVIDIA GPUs are offered to containers" : "the engine offers none");
        bool hybrid = access("/sys/fs/cgroup/unified/cgroup.controllers", F_OK) == 0;
        if (hybrid && str_eq(info.runtime, "crun"))
            add(r, "cgroups", HEALTH_BAD,
                "crun refuses this layout: set runtime = \"runc\" in /etc/containers/containers.conf",
                "hybrid cgroups with crun");
        else
            add(r, "cgroups", HEALTH_OK, NULL, "version %s%s, runtime %s", info.cgroup_version,
                hybrid ? " (hybrid)" : "", info.runtime);
        check_network(r, cli, w.engine);
    }
    wiring_release(&w);
}

static void check_cache(struct report *r, const struct cli *cli)
{
    struct wiring w = {0};
    struct err err = ERR_INIT;
    const char *dir = config_text(cli->config, SETTING_CACHE_DIR);
    struct fs_space space;
    if (wiring_open_cache(&w, cli, &err) < 0) {
        add(r, "cache", HEALTH_BAD, err.hint[0] ? err.hint : "choose another folder with --set cache.dir=DIR", "%s",
            err.text);
    } else {
        AUTO_FD fd = fs_open_dir(dir, &err);
        if (fd < 0 || fs_space(fd, &space, &err) < 0) {
            add(r, "disk", HEALTH_BAD, NULL, "%s", err.text);
        } else {
            char free_bytes[HUMAN_MAX], total[HUMAN_MAX];
            add(r, "disk", space.free_bytes < SPACE_WANTED ? HEALTH_NOTE : HEALTH_OK,
                space.free_bytes < SPACE_WANTED ? "free some space, or run: berth cache gc --all" : NULL,
                "%s: %s free of %s", dir, human_bytes(free_bytes, space.free_bytes),
                human_bytes(total, space.total_bytes));
        }
    }
    wiring_release(&w);
}

static void check_limits(struct report *r)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        add(r, "open files", files.rlim_cur < FILES_WANTED ? HEALTH_NOTE : HEALTH_OK,
            files.rlim_cur < FILES_WANTED ? "raise it: ulimit -n 4096" : NULL, "limit %llu",
            (unsigned long long)files.rlim_cur);
    struct err err = ERR_INIT;
    AUTO_FD root = fs_open_dir("/", &err);
    AUTO_FD beneath = root < 0 ? -1 : fs_open_beneath(root, "proc", O_PATH, 0, &err);
    if (beneath < 0)
        add(r, "kernel", HEALTH_BAD, "berth needs Linux 5.6 or later (openat2)", "%s", err.text);
    else
        add(r, "kernel", HEALTH_OK, NULL, "confined file access works");
}

/* With an endpoint configured its clock is the one that counts; else the kernel says whether it is synchronised. */
static void check_clock(struct report *r, const struct cli *cli)
{
    const char *endpoint = config_text(cli->config, SETTING_S3_ENDPOINT);
    struct wiring w = {0};
    struct err err = ERR_INIT;
    if (endpoint && wiring_open_transfers(&w, cli, &err) == 0) {
        struct http_response resp = {0};
        const struct http_request req = {.method = "HEAD", .url = endpoint, .tries = 2, .cancel = &cli->cancel};
        if (http_call(w.http, &req, &resp, &err) < 0)
            add(r, "s3 endpoint", HEALTH_BAD, err.hint[0] ? err.hint : NULL, "%s", err.text);
        else if (resp.date_ms > 0) {
            int64_t off = clock_wall_ms() - resp.date_ms;
            bool wrong = off > CLOCK_SKEW_MS || off < -CLOCK_SKEW_MS;
            add(r, "clock", wrong ? HEALTH_BAD : HEALTH_OK, wrong ? "set it: timedatectl set-ntp true" : NULL,
                "%+lld s against %s", (long long)(off / 1000), endpoint);
        }
        http_response_release(&resp);
    } else {
        struct timex tx = {0};
        int state = adjtimex(&tx);
        bool unsure = state == TIME_ERROR || (tx.status & STA_UNSYNC);
        add(r, "clock", unsure ? HEALTH_NOTE : HEALTH_OK,
            unsure ? "signed requests need a clock within 15 minutes: timedatectl set-ntp true" : NULL, "%s",
            unsure ? "not synchronised, as far as the kernel knows" : "synchronised");
    }
    wiring_release(&w);
}

static void check_credentials(struct report *r, const struct cli *cli)
{
    struct creds *creds = NULL;
    struct err err = ERR_INIT;
    const struct creds_opts opts = {.ambient = true, .profile = config_text(cli->config, SETTING_S3_PROFILE)};
    struct creds_keys keys = {0};
    if (creds_open(&creds, &opts, &err) < 0)
        add(r, "s3 credentials", HEALTH_BAD, err.hint[0] ? err.hint : NULL, "%s", err.text);
    else if (creds_anonymous(creds))
        add(r, "s3 credentials", HEALTH_NOTE,
            "public buckets work; for others set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            "none found");
    else if (creds_get(creds, &cli->cancel, &keys, &err) < 0)
        add(r, "s3 credentials", HEALTH_BAD, err.hint[0] ? err.hint : NULL, "%s", err.text);
    else
        add(r, "s3 credentials", HEALTH_OK, NULL, "%s", creds_describe(creds));
    creds_keys_release(&keys);
    creds_free(creds);
}

static void check_settings(struct report *r, const struct cli *cli)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!str_empty(getenv(names[i])))
            add(r, "proxy", HEALTH_NOTE, "hosts that need none go in NO_PROXY", "%s is set", names[i]);
    const char *ca = config_text(cli->config, SETTING_XFER_CA_FILE);
    if (ca && access(ca, R_OK) != 0)
        add(r, "ca file", HEALTH_BAD, "name a readable PEM file in xfer.ca_file", "%s cannot be read", ca);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static void print_rows(const struct cli *cli, const struct report *r)
{
    size_t i;
    json_t *row;
    json_array_foreach(r->rows, i, row)
    {
        const char *state = json_get_str(row, "state"), *hint = json_get_str(row, "hint");
        const char *tint = str_eq(state, "ok") ? "\033[32m" : str_eq(state, "bad") ? "\033[31m" : "\033[33m";
        printf("%s%-4s%s  ", cli->colour_out ? tint : "", state, cli->colour_out ? "\033[0m" : "");
        text_line(stdout, "%-15s %s", json_get_str(row, "check"), json_get_str(row, "found"));
        if (hint)
            text_line(stdout, "      %-15s → %s", "", hint);
    }
}

static const struct opt options[] = {GLOBAL_OPTIONS};

static int run(struct cli *cli, const struct strv *operands, struct err *err)
{
    if (cli_want_operands(operands, 0, 0, &command_doctor, err) < 0)
        return EXIT_USAGE;
    struct report r = {.rows = json_array()};
    if (!r.rows) {
        err_nomem(err);
        return 1;
    }
    check_engine(&r, cli);
    check_cache(&r, cli);
    check_limits(&r);
    check_clock(&r, cli);
    check_credentials(&r, cli);
    check_settings(&r, cli);
    int rc = 0;
    if (globals.json)
        rc = cli_print_json(json_incref(r.rows), err);
    else
        print_rows(cli, &r);
    json_decref(r.rows);
    return rc < 0 || r.bad ? 1 : 0;
}

const struct command command_doctor = {
    .about = {.name = "doctor",
              .summary = "See what is missing on this machine, and how to mend it",
              .args = "",
              .about = "Looks at the container engine, cgroups, GPU, disk, limits, clock, S3 credentials and settings. "
                       "Ends with 1 if something "
                       "would keep jobs from running.",
              .examples = "berth doctor\nberth doctor --json"},
    .options = options,
    .run = run,
};
