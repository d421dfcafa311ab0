//! Files: ours, which are never seen half-written, and those of others, which are read without being kept waiting.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Writes a file beside its place, then moves it there, so that it is never seen half-written.
/// A link stays, and what it leads to is replaced. A stream is written to as it is.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if is_stream(path) {
        // Appending: stdout may be a file that the table is written to as well.
        return std::fs::OpenOptions::new().append(true).open(path)?.write_all(bytes);
    }
    refuse_foreign_link(path)?;
    let path = follow(path);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let file = new_file().tempfile_in(folder.unwrap_or(Path::new(".")));
    let mut file = match file {
        Ok(file) => file,
        // A folder that takes no new files: what can only be written in place is.
        Err(error) => return in_place(&path, bytes).map_err(|_| error),
    };
    if let Ok(old) = std::fs::metadata(&path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // A file that is a mount of its own cannot be replaced.
    file.persist(&path).map(drop).or_else(|error| in_place(&path, bytes).map_err(|_| error.error))
}

/// Makes a new file at once, whole or not at all; fails where there is one.
pub fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = new_file().tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

/// A file that is written in parts: beside its place, where it is moved once it is whole.
pub struct Parts {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Parts {
    /// Begins the file; what is at its place stays until the end. A link there is replaced, not followed.
    pub fn begin(path: &Path) -> io::Result<Parts> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let file = new_file().tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Parts { file: BufWriter::with_capacity(1 << 20, file), path: path.to_owned() })
    }

    /// Moves the whole file to its place.
    pub fn finish(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that can still be written to the disk of a folder, which need not be there yet; `None` where the system does
/// not say.
pub fn bytes_free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir());
    let there = there.unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Opens a regular file that a stranger may have put there, without waiting and without following a link. The text of an
/// error that is not the system's says what is there instead.
pub fn open_regular(path: &Path) -> io::Result<File> {
    use rustix::fs::{FileType, Mode, OFlags};
    let refused = |what: &str| {
        let text = format!("expected a regular file, found {what}");
        io::Error::new(ErrorKind::InvalidInput, text)
    };
    // Opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return Err(refused("a symbolic link")),
        // A socket cannot be opened.
        Err(rustix::io::Errno::NXIO) => return Err(refused("a socket or a device")),
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        FileType::Directory => Err(refused("a folder")),
        FileType::Fifo => Err(refused("a pipe")),
        _ => Err(refused("a device")),
    }
}

/// The text of a file of at most `bytes_max`, opened by [`open_regular`].
pub fn text_of_stranger(path: &Path, bytes_max: u64) -> io::Result<String> {
    read_text(open_regular(path)?, bytes_max)
}

/// The bytes of a regular file of at most `bytes_max`.
pub fn bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    read_bytes(File::open(path)?, bytes_max)
}

/// Writes over a file that is there.
fn in_place(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether a path names a device or a pipe, such as /dev/stdout: what is written there stays.
pub fn is_stream(path: &Path) -> bool {
    let device = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    // /dev/stdout is a link, and must stay one if stdout goes to a file.
    let descriptor = path.is_symlink() && (path.starts_with("/dev") || path.starts_with("/proc"));
    device || descriptor
}

/// Refuses to write through a link that another user made.
pub fn refuse_foreign_link(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(link) = std::fs::symlink_metadata(path) else { return Ok(()) };
        let own = rustix::process::geteuid().as_raw();
        if link.is_symlink() && link.uid() != own && link.uid() != 0 {
            let message = format!("it is a link of user {}, and leads elsewhere", link.uid());
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

/// Where links lead, whether there is something or not.
fn follow(path: &Path) -> PathBuf {
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

/// Temporary files are for their owner's eyes; these are to be as any new file.
fn new_file() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Less what the umask takes away.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// The text of a regular file of at most `bytes_max`. A pipe would wait for its writer, and a device need not end.
pub fn text(path: &Path, bytes_max: u64) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
    }
    read_text(File::open(path)?, bytes_max)
}

fn read_text(file: File, bytes_max: u64) -> io::Result<String> {
    let refused = |error: std::string::FromUtf8Error| {
        io::Error::new(ErrorKind::InvalidData, error.to_string())
    };
    String::from_utf8(read_bytes(file, bytes_max)?).map_err(refused)
}

fn read_bytes(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The limit holds for what grows meanwhile, too.
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("larger than {} MiB", bytes_max >> 20);
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}
