//! SSH signatures of files (SSHSIG, OpenSSH's PROTOCOL.sshsig), in the armoured form of `ssh-keygen -Y sign`, and the keys
//! that make them. Keys are Ed25519 and ECDSA; those behind a FIDO token are read and sign through `ssh-keygen` alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::words::quote;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey, SshSig};

/// What our signatures are for: one that was made for another purpose, such as a commit of git, is refused.
pub const NAMESPACE: &str = "verify-record@sparse-verify";
/// Largest armoured signature that is read, in bytes: one of a FIDO token with P-521 takes less than 1 KB.
pub const SIGNATURE_BYTES_MAX: u64 = 16 << 10;
/// Largest file of a private key that is read, in bytes: one of ours takes less than 1 KB.
pub const KEY_BYTES_MAX: u64 = 64 << 10;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// Characters a line, as `ssh-keygen` breaks them.
const WIDTH: usize = 70;

/// Why a signature or a key is refused; reads on after the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

/// A public key, by which a signature is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public(KeyData);

impl Public {
    /// Reads `ssh-ed25519 AAAA...`: a type and its Base64, without a comment.
    pub fn read(text: &str) -> Result<Public, Refused> {
        let key = PublicKey::from_openssh(text)
            .map_err(|error| Refused(format!("it is no public key of OpenSSH: {error}")))?;
        known(&key.algorithm())?;
        Ok(Public(key.key_data().clone()))
    }

    /// `SHA256:` and the Base64 of its digest, as `ssh-keygen -l` writes it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// `ssh-ed25519 AAAA...`.
    pub fn text(&self) -> Result<String, Refused> {
        let key = PublicKey::new(self.0.clone(), "");
        key.to_openssh().map_err(|error| Refused(format!("it cannot be written: {error}")))
    }
}

/// Refuses algorithms that are not checked here.
fn known(algorithm: &Algorithm) -> Result<(), Refused> {
    match algorithm {
        Algorithm::Ed25519
        | Algorithm::Ecdsa { .. }
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256 => Ok(()),
        other => refuse(format!(
            "its algorithm is {}, expected ed25519 or ecdsa\nhint: `ssh-keygen -Y verify` checks others; to be counted here, \
             sign with an ed25519 key",
            quote(other.as_str())
        )),
    }
}

/// A signature, of which it is not yet known whether it is right.
#[derive(Clone, Debug)]
pub struct Signature(SshSig);

impl Signature {
    /// Reads a signature in the one form that `ssh-keygen` writes, made for our purpose.
    pub fn read(bytes: &[u8]) -> Result<Signature, Refused> {
        const NONE: &str = "it is no SSH signature: expected what `ssh-keygen -Y sign` writes";
        let Ok(text) = std::str::from_utf8(bytes) else { return refuse(NONE) };
        let inner = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let Some(inner) = inner else { return refuse(NONE) };
        let joined: String = inner.split('\n').collect();
        let raw = STANDARD
            .decode(joined)
            .map_err(|error| Refused(format!("{NONE}: its Base64 is broken: {error}")))?;
        // One form alone: no bit of the file is free.
        if armour(&raw) != text {
            return refuse(format!("{NONE}, with {WIDTH} characters a line"));
        }
        let signature =
            SshSig::from_pem(text).map_err(|error| Refused(format!("{NONE}: {error}")))?;
        known(&signature.algorithm())?;
        // Lengths inside are read loosely by the library, and would leave bits free.
        if encoded(&signature)? != raw {
            return refuse(format!("{NONE}: lengths inside of it are others"));
        }
        if signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
            return refuse(format!("{NONE}, version {}", SshSig::VERSION));
        }
        if signature.namespace() != NAMESPACE {
            return refuse(format!(
                "it was made for another purpose\n  expected the namespace {NAMESPACE}\n  got      {}\nhint: sign with \
                 `ssh-keygen -Y sign -n {NAMESPACE} -f KEY FILE`, or with `verify attest`",
                quote(signature.namespace())
            ));
        }
        Ok(Signature(signature))
    }

    /// The key that it says it was made with.
    pub fn key(&self) -> Public {
        Public(self.0.public_key().clone())
    }

    /// Refuses it unless its key signed these bytes.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Refused> {
        let key = PublicKey::new(self.0.public_key().clone(), "");
        key.verify(NAMESPACE, bytes, &self.0).map_err(|_| {
            Refused(format!(
                "it is not a signature of these bytes by the key {}: the statement or the signature was changed",
                self.key().fingerprint()
            ))
        })
    }
}

/// The bytes of a signature as OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f have them.
fn encoded(signature: &SshSig) -> Result<Vec<u8>, Refused> {
    /// Flags and counter of a FIDO token, which stand behind the string of its signature.
    const TRAILER_BYTES: usize = 5;
    fn string(to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Refused> {
        let len = u32::try_from(bytes.len()).map_err(|_| Refused("it is too long".into()))?;
        to.extend(len.to_be_bytes());
        to.extend(bytes);
        Ok(())
    }
    let key = PublicKey::new(signature.public_key().clone(), "");
    let key = key.to_bytes().map_err(|error| Refused(format!("its key is broken: {error}")))?;
    let (algorithm, bytes) = (signature.algorithm(), signature.signature_bytes());
    let is_token = matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
    let trailer = if is_token { TRAILER_BYTES } else { 0 };
    let (own, trailer) = bytes.split_at(bytes.len().saturating_sub(trailer));
    let mut inner = Vec::new();
    string(&mut inner, algorithm.as_str().as_bytes())?;
    string(&mut inner, own)?;
    inner.extend(trailer);
    let mut all = b"SSHSIG".to_vec();
    all.extend(signature.version().to_be_bytes());
    string(&mut all, &key)?;
    string(&mut all, signature.namespace().as_bytes())?;
    string(&mut all, signature.reserved())?;
    string(&mut all, signature.hash_alg().as_str().as_bytes())?;
    string(&mut all, &inner)?;
    Ok(all)
}

/// Base64 in lines between the two marks.
fn armour(raw: &[u8]) -> String {
    let encoded = STANDARD.encode(raw);
    let mut text = String::from(BEGIN);
    for line in encoded.as_bytes().chunks(WIDTH) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text + END
}

/// A private key.
pub struct Key(PrivateKey);

impl Key {
    /// Reads a key in OpenSSH's own format, as `ssh-keygen` has written it since 2019.
    pub fn read(bytes: &[u8]) -> Result<Key, Refused> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if let Some(kind) = ["ssh-", "ecdsa-", "sk-"].iter().find(|kind| text.starts_with(**kind)) {
            return refuse(format!(
                "it is a public key ({kind}...), and a private one signs\nhint: give the file without .pub, or \
                 `--with-ssh-keygen` for a key in an agent"
            ));
        }
        let key = PrivateKey::from_openssh(bytes).map_err(|error| {
            Refused(format!(
                "it is no private key of OpenSSH: {error}\nhint: `ssh-keygen -t ed25519 -f FILE` makes one; `ssh-keygen -p -f \
                 FILE` writes one of another format anew"
            ))
        })?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(Key(key)),
            other => refuse(format!(
                "its algorithm is {}, expected ed25519 or ecdsa\nhint: `--with-ssh-keygen` has a key behind a FIDO token sign",
                quote(other.as_str())
            )),
        }
    }

    /// Whether it has a passphrase, and was not unlocked.
    pub fn is_locked(&self) -> bool {
        self.0.is_encrypted()
    }

    /// The same without its passphrase.
    pub fn unlock(&self, passphrase: &str) -> Result<Key, Refused> {
        let key = self.0.decrypt(passphrase);
        key.map(Key)
            .map_err(|_| Refused("the passphrase is another, or the file was changed".into()))
    }

    /// Its public part.
    pub fn public(&self) -> Public {
        Public(self.0.public_key().key_data().clone())
    }

    /// The armoured signature of these bytes.
    pub fn sign(&self, bytes: &[u8]) -> Result<String, Refused> {
        let failed = |error: ssh_key::Error| Refused(format!("it cannot sign: {error}"));
        let signature = self.0.sign(NAMESPACE, HashAlg::Sha512, bytes).map_err(failed)?;
        signature.to_pem(ssh_key::LineEnding::LF).map_err(failed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by `ssh-keygen -t ed25519 -N '' -C ''` for these tests alone.
    pub const KEY: &str = include_str!("../tests/keys/ed25519");
    /// By `ssh-keygen -t ecdsa -b 256`.
    const ECDSA: &str = include_str!("../tests/keys/ecdsa256");
    /// With the passphrase `secret`.
    const LOCKED: &str = include_str!("../tests/keys/locked");
    /// By `ssh-keygen -Y sign` with [`KEY`] over [`BYTES`].
    const BY_SSH_KEYGEN: &str = include_str!("../tests/keys/statement.sig");
    const BYTES: &[u8] = b"a statement\n";

    pub fn key() -> Key {
        Key::read(KEY.as_bytes()).expect("a key")
    }

    #[test]
    fn a_signature_is_of_its_bytes_and_its_key_alone() {
        for text in [KEY, ECDSA] {
            let key = Key::read(text.as_bytes()).expect("a key");
            let armoured = key.sign(BYTES).expect("it signs");
            let signature = Signature::read(armoured.as_bytes()).expect("a signature");
            assert_eq!(signature.key(), key.public());
            assert_eq!(signature.verify(BYTES), Ok(()));
            assert!(signature.verify(b"a statement").is_err());
        }
        // Ed25519 signs without chance: the very bytes of ssh-keygen.
        assert_eq!(key().sign(BYTES).as_deref(), Ok(BY_SSH_KEYGEN));
    }

    #[test]
    fn a_passphrase_unlocks() {
        let locked = Key::read(LOCKED.as_bytes()).expect("a key");
        assert!(locked.is_locked() && locked.sign(BYTES).is_err());
        assert!(locked.unlock("Secret").is_err());
        let open = locked.unlock("secret").expect("its passphrase");
        let armoured = open.sign(BYTES).expect("it signs");
        let signature = Signature::read(armoured.as_bytes()).expect("a signature");
        assert_eq!(signature.verify(BYTES), Ok(()));
    }

    #[test]
    fn another_purpose_is_refused() {
        let private = PrivateKey::from_openssh(KEY).expect("a key");
        let other = private.sign("git", HashAlg::Sha512, BYTES).expect("it signs");
        let armoured = other.to_pem(ssh_key::LineEnding::LF).expect("text");
        let error = Signature::read(armoured.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("another purpose") && error.contains("`git`"), "{error}");
    }

    /// Every bit of a signature's file; of the slower curve every fifth, which has all of the places in a byte.
    #[test]
    fn one_changed_bit_is_refused() {
        for (text, step) in [(KEY, 1), (ECDSA, 5)] {
            let key = Key::read(text.as_bytes()).expect("a key");
            let good = key.sign(BYTES).expect("it signs").into_bytes();
            for at in (0..good.len() * 8).step_by(step) {
                let mut bad = good.clone();
                bad[at / 8] ^= 1 << (at % 8);
                let accepted = Signature::read(&bad).is_ok_and(|signature| {
                    signature.key() == key.public() && signature.verify(BYTES).is_ok()
                });
                assert!(!accepted, "bit {at}");
            }
        }
    }

    /// Other ends of lines, widths and padding have the same content, and are refused.
    #[test]
    fn one_form_alone_is_read() {
        let good = key().sign(BYTES).expect("it signs");
        let inner = good.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).expect("both");
        let joined: String = inner.split('\n').collect();
        let lines = |width: usize| -> String {
            let lines = joined.as_bytes().chunks(width);
            let line = |line: &[u8]| format!("{}\n", String::from_utf8_lossy(line));
            format!("{BEGIN}{}{END}", lines.map(line).collect::<String>())
        };
        assert_eq!(lines(WIDTH), good);
        assert!(Signature::read(good.as_bytes()).is_ok());
        for other in [
            lines(64),
            lines(76),
            good.replace('\n', "\r\n"),
            format!("{good}\n"),
            format!("\n{good}"),
        ] {
            assert!(Signature::read(other.as_bytes()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_key_says_what_it_is() {
        let public = key().public().text().expect("text");
        assert_eq!(Public::read(&public), Ok(key().public()));
        for (bytes, words) in [
            (public.as_bytes(), "it is a public key"),
            (b"", "it is no private key of OpenSSH"),
            (b"-----BEGIN RSA PRIVATE KEY-----\n", "it is no private key of OpenSSH"),
            (b"\xff\xfe", "it is no private key of OpenSSH"),
        ] {
            let error = Key::read(bytes).err().expect("refused").to_string();
            assert!(error.contains(words) && error.contains("hint: "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_signature(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Signature::read(&bytes).is_err());
            let armoured = armour(&bytes);
            if let Ok(signature) = Signature::read(armoured.as_bytes()) {
                prop_assert!(signature.verify(BYTES).is_err());
            }
        }

        #[test]
        fn any_bytes_behind_the_magic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let raw = [b"SSHSIG\0\0\0\x01".as_slice(), &bytes].concat();
            let read = Signature::read(armour(&raw).as_bytes());
            prop_assert!(read.is_err() || read.is_ok_and(|signature| signature.verify(BYTES).is_err()));
        }
    }
}
