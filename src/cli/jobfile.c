#include "cli/jobfile.h"

#include "base/fs.h"
#include "cli/cli.h"

#include <fcntl.h>

int jobfile_read(const char *path, struct buf *out, struct err *err)
{
    if (str_eq(path, "-"))
        return cli_read_stdin(out, err);
    if (fs_read_file(AT_FDCWD, path, SPEC_FILE_MAX, out, err) < 0) {
        if (err->kind == ERR_NOTFOUND)
            err_hint(err, "name a job file: JSON or YAML, Nosana or Bacalhau");
        return -1;
    }
    return 0;
}

int jobfile_parse(const char *path, const struct strv *vars, bool strict, struct job **out, struct err *err)
{
    AUTO_BUF text;
    buf_init(&text, SPEC_FILE_MAX + (128u << 10)); /* room to notice that it is too long */
    const struct spec_opts opts = {
        .file = str_eq(path, "-") ? "standard input" : path,
        .vars = vars && vars->n ? (const char *const *)vars->v : NULL,
        .strict = strict,
    };
    if (jobfile_read(path, &text, err) < 0)
        return -1;
    return spec_parse(buf_span(&text), &opts, out, err);
}
