//! Files and disks.

mod paths;

use self::paths::{device, harmless, own_files, system_file};
use super::{has, joined_value, operands, value};
use crate::hit::Hit;
use crate::shell::{Arg, Command};

/// Folders whose loss is the loss of the machine or of a person's work.
const ROOTS: &[&str] = &[
    "/", "/*", "/.", "/./", "//", "~", "~/", "~/*", "~/.", "/bin", "/boot", "/dev", "/etc", "/home", "/home/*", "/lib", "/lib64",
    "/opt", "/proc", "/root", "/sbin", "/sys", "/usr", "/usr/*", "/usr/bin", "/usr/lib", "/var", "/var/*", "/var/lib", "/etc/*",
    "/root/*", "/boot/*", "/Users", "/System", "/Library", "c:", "c:/", "c:\\", "C:", "C:/", "C:\\", "C:\\*",
];

/// Files of the system to which even one added line gives somebody more rights.
const ACCOUNTS: &[&str] = &["passwd", "shadow", "sudoers", "authorized_keys", "cron", "ld.so.preload", "pam.d", "hosts"];

/// What a command does to files.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    match command.program() {
        "rm" | "grm" | "unlink" | "rmdir" | "srm" | "wipe" | "rimraf" | "trash-empty" | "del" | "erase" | "rd" => {
            removed(command, &operands(argv, &[]), hits);
        }
        "shred" => removed(command, &operands(argv, &["-n", "-s", "--iterations", "--size"]), hits),
        "find" | "gfind" => {
            if deletes(argv) {
                let place = argv.get(1).filter(|arg| !arg.text.starts_with('-')).cloned().unwrap_or_else(|| Arg::literal("."));
                hits.push(Hit::on(command, "shell.rm", "file", &place));
            }
            for option in ["-fprint", "-fprintf", "-fls", "-fprint0"] {
                if let Some(file) = value(argv, &[option]) {
                    written(command, &file.clone(), "shell.overwrite", hits);
                }
            }
        }
        "dd" => {
            if let Some(file) =
                argv.iter().find_map(|arg| arg.text.strip_prefix("of=").map(|file| Arg { text: file.to_owned(), ..arg.clone() }))
            {
                written(command, &file, "shell.truncate", hits);
            }
        }
        "truncate" => {
            for file in operands(argv, &["-s", "-r", "--size", "--reference"]) {
                written(command, file, "shell.truncate", hits);
            }
        }
        "tee" => {
            let code = if has(argv, &["-a", "--append"]) { "shell.append" } else { "shell.overwrite" };
            operands(argv, &[]).into_iter().for_each(|file| written(command, file, code, hits));
        }
        "cp" | "install" | "gcp" | "ditto" => {
            let words = operands(argv, &["-S", "-m", "-o", "-g", "-t", "--suffix", "--mode", "--owner", "--group"]);
            if let [sources @ .., to] = words.as_slice()
                && !sources.is_empty()
            {
                let empty = sources.iter().any(|from| matches!(from.text.as_str(), "/dev/null" | "/dev/zero" | "/dev/urandom"));
                written(command, to, if empty { "shell.truncate" } else { "shell.append" }, hits);
            }
        }
        "mv" | "gmv" | "move" | "rename" | "ren" => moved(command, hits),
        "ln" => {
            if has(argv, &["-f", "--force"])
                && let Some(to) = operands(argv, &[]).last()
            {
                written(command, to, "shell.overwrite", hits);
            }
        }
        "rsync" | "robocopy" | "lftp" => sync(command, hits),
        "sed" | "perl" | "gsed" => {
            if let Some(file) = operands(argv, &["-e", "-f"]).last()
                && has(argv, &["-i", "--in-place"])
                && system_file(&file.text)
            {
                hits.push(Hit::on(command, "shell.system-file", "file", file));
            }
        }
        "curl" | "wget" => {
            if let Some(file) = value(argv, &["-o", "-O", "--output", "--output-document"]).filter(|file| system_file(&file.text))
            {
                hits.push(Hit::on(command, "shell.system-file", "file", file));
            }
        }
        "tar" | "unzip" | "7z" | "zip" => {
            if has(argv, &["--remove-files"]) || command.program() == "zip" && has(argv, &["-m", "--move", "-d", "--delete"]) {
                hits.push(Hit::of(command, "shell.rm", "file", "the packed files"));
            } else if has(argv, &["--delete"]) {
                hits.push(Hit::of(command, "shell.rm", "file", "members of the archive"));
            }
        }
        "chmod" | "chown" | "chgrp" | "setfacl" | "chattr" | "icacls" | "takeown" | "cacls" | "xattr" | "chcon" | "setcap" => {
            access(command, hits);
        }
        _ => disks(command, hits),
    }
}

/// Whether `find` is told to delete; a `-delete` that another test takes as its value is none.
fn deletes(argv: &[Arg]) -> bool {
    const VALUED: &[&str] = &[
        "-amin",
        "-anewer",
        "-atime",
        "-cmin",
        "-cnewer",
        "-context",
        "-ctime",
        "-fstype",
        "-gid",
        "-group",
        "-ilname",
        "-iname",
        "-inum",
        "-ipath",
        "-iregex",
        "-iwholename",
        "-links",
        "-lname",
        "-maxdepth",
        "-mindepth",
        "-mmin",
        "-mtime",
        "-name",
        "-newer",
        "-path",
        "-perm",
        "-printf",
        "-regex",
        "-regextype",
        "-samefile",
        "-size",
        "-type",
        "-uid",
        "-used",
        "-user",
        "-wholename",
        "-xtype",
    ];
    let mut words = argv.iter().skip(1).map(|arg| arg.text.as_str());
    while let Some(word) = words.next() {
        if VALUED.contains(&word) {
            words.next();
        } else if word == "-delete" {
            return true;
        }
    }
    false
}

/// Files that are deleted.
fn removed(command: &Command, targets: &[&Arg], hits: &mut Vec<Hit>) {
    let recursive = has(&command.argv, &["-r", "-R", "--recursive", "-rf", "/s", "/S"]);
    if targets.is_empty() && command.open {
        hits.push(Hit { partial: true, ..Hit::of(command, "shell.rm", "file", "the files it is given") });
    }
    for target in targets {
        let text = target.text.trim_end_matches("/.").to_owned();
        let text = if text.is_empty() { "/".to_owned() } else { text };
        let plain = text.trim_end_matches('/');
        let root = ROOTS.contains(&text.as_str()) || ROOTS.contains(&plain) && !plain.is_empty();
        let code = if own_files(&text) {
            "coda.own-files"
        } else if root && recursive && command.program() != "rmdir" {
            "shell.wipe-root"
        } else if command.program() == "shred" && device(&text) {
            "shell.device"
        } else {
            "shell.rm"
        };
        hits.push(Hit::on(command, code, "file", target));
    }
}

/// A file that is written. `code` says how where the place itself says nothing worse.
pub(crate) fn written(command: &Command, target: &Arg, code: &'static str, hits: &mut Vec<Hit>) {
    let text = target.text.as_str();
    let code = if own_files(text) {
        "coda.own-files"
    } else if device(text) {
        "shell.device"
    } else if harmless(text) {
        return;
    } else if code == "shell.append" && system_file(text) && !ACCOUNTS.iter().any(|file| text.contains(file)) {
        "shell.persist"
    } else if system_file(text) {
        "shell.system-file"
    } else {
        code
    };
    if code != "shell.append" {
        hits.push(Hit::on(command, code, "file", target));
    }
}

fn moved(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let words = operands(argv, &["-S", "--suffix"]);
    let to = value(argv, &["-t", "--target-directory"]).or_else(|| words.last().copied());
    let Some(to) = to else { return };
    if to.text == "/dev/null" {
        words.iter().take(words.len().saturating_sub(1)).for_each(|from| hits.push(Hit::on(command, "shell.rm", "file", from)));
    } else {
        for from in words.iter().take(words.len().saturating_sub(1)) {
            let plain = from.text.trim_end_matches(['/', '*']);
            if own_files(&from.text)
                || from.text == "/*"
                || ROOTS.contains(&plain) && !matches!(plain, "" | "~" | "/opt" | "/home")
                || matches!(from.text.as_str(), "/" | "~" | "~/")
            {
                hits.push(Hit::on(
                    command,
                    if own_files(&from.text) { "coda.own-files" } else { "shell.wipe-root" },
                    "file",
                    from,
                ));
            }
        }
        if !has(argv, &["-n", "--no-clobber"]) {
            written(command, to, "shell.move", hits);
        }
    }
}

fn sync(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    if has(argv, &["-n", "--dry-run", "/l", "/L"]) && !argv.iter().any(|arg| arg.text.starts_with("--no-")) {
        return;
    }
    let deletes = argv.iter().any(|arg| {
        let text = arg.text.to_ascii_lowercase();
        text == "--del"
            || text.starts_with("--delete")
            || matches!(text.as_str(), "--remove-source-files" | "/mir" | "/purge" | "/mov" | "/move")
            || command.program() == "lftp" && text.contains("--delete")
    });
    if deletes {
        let to = operands(argv, &["-e", "--rsh"]).last().map_or("the target", |arg| arg.text.as_str()).to_owned();
        hits.push(Hit::of(command, "shell.sync-delete", "folder", &to));
    }
}

/// Changes of access rights. Making one's own file executable is everyday work and says nothing.
fn access(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let program = command.program();
    let words = operands(argv, &["--reference", "--from", "-m", "-x", "-M", "-X"]);
    let mode = words.first().map_or("", |arg| arg.text.as_str());
    let everyday = program == "chmod"
        && !has(argv, &["-R", "--recursive"])
        && matches!(
            mode,
            "+x" | "u+x"
                | "a+x"
                | "ug+x"
                | "755"
                | "0755"
                | "700"
                | "0700"
                | "644"
                | "0644"
                | "600"
                | "0600"
                | "400"
                | "0400"
                | "u+rw"
                | "u+w"
                | "+r"
        );
    let reads = program == "setcap" && has(argv, &["-v"])
        || program == "xattr" && !has(argv, &["-d", "-c", "-w", "-r"])
        || program == "icacls" && words.len() < 2 && argv.len() < 3;
    if everyday && words.iter().skip(1).all(|file| !system_file(&file.text)) || reads {
        return;
    }
    let name = words.get(1).or(words.first()).map_or("the files", |arg| arg.text.as_str());
    hits.push(Hit::of(command, "shell.permission", "file", name));
}

fn disks(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let program = command.program();
    let last = operands(argv, &[]).last().map_or_else(|| Arg::literal("a disk"), |arg| (*arg).clone());
    let first = operands(argv, &[]).first().map_or("", |arg| arg.text.as_str()).to_owned();
    let makes = program.starts_with("mkfs")
        || matches!(program, "mke2fs" | "mkswap" | "mkdosfs" | "mkntfs" | "newfs" | "format" | "format.com");
    let code = match program {
        _ if makes && device(&last.text) || program == "format" => "shell.device",
        _ if makes => "shell.truncate",
        "wipefs" if has(argv, &["-a", "--all", "-o"]) => "shell.device",
        "blkdiscard" | "nwipe" | "dban" => "shell.device",
        "fdisk" | "cfdisk" | "gdisk" if !has(argv, &["-l", "--list", "-s"]) && !argv.iter().any(|arg| arg.text == "-l") => {
            "shell.device"
        }
        "sgdisk" if has(argv, &["--zap-all", "--zap", "-Z", "-z", "-o", "-d", "--delete", "--clear"]) => "shell.device",
        "sfdisk" if !has(argv, &["-l", "-d", "--list", "--dump", "-J", "--json"]) => "shell.device",
        "parted"
            if argv.iter().any(|arg| matches!(arg.text.as_str(), "rm" | "mklabel" | "mktable" | "mkpart" | "resizepart")) =>
        {
            "shell.device"
        }
        "hdparm" if argv.iter().any(|arg| arg.text.starts_with("--security-erase") || arg.text == "--trim-sector-ranges") => {
            "shell.device"
        }
        "nvme" if matches!(first.as_str(), "format" | "sanitize" | "write" | "delete-ns") => "shell.device",
        "badblocks" if has(argv, &["-w"]) => "shell.device",
        "cryptsetup"
            if matches!(
                first.as_str(),
                "luksFormat" | "erase" | "luksErase" | "luksKillSlot" | "luksRemoveKey" | "reencrypt"
            ) =>
        {
            "shell.device"
        }
        "diskutil"
            if first.to_lowercase().contains("erase")
                || first.to_lowercase().contains("partition")
                || first == "zeroDisk"
                || first == "randomDisk" =>
        {
            "shell.device"
        }
        "lvremove" | "vgremove" | "pvremove" | "lvreduce" if has(argv, &["--test", "-t"]) => return,
        "lvremove" | "vgremove" | "pvremove" | "lvreduce" => "shell.volume",
        "zpool" | "zfs" if matches!(first.as_str(), "destroy" | "rollback" | "labelclear") => "shell.volume",
        "btrfs" if argv.iter().any(|arg| matches!(arg.text.as_str(), "delete" | "del")) => "shell.volume",
        "mdadm" if has(argv, &["--zero-superblock", "--remove", "--fail", "--create"]) => "shell.volume",
        "tmutil" if matches!(first.as_str(), "delete" | "deletelocalsnapshots") => "shell.volume",
        "vssadmin" if first.eq_ignore_ascii_case("delete") => "shell.volume",
        "wbadmin" if first.eq_ignore_ascii_case("delete") => "shell.volume",
        "debugfs" | "tune2fs" | "e2fsck" | "fsck" | "xfs_repair" if has(argv, &["-w", "-y", "-L"]) => "shell.volume",
        _ => return,
    };
    let partition = joined_value(argv, &["--device"]).map_or(last.clone(), Arg::literal);
    hits.push(Hit::on(command, code, "device", &partition));
}
