//! Which certificates vouch for a hub.

use std::path::PathBuf;

use ureq::tls::{Certificate, RootCerts};

use super::fault::Fault;
use super::settings::Setting;

/// Files and folders of certificates that a variable names, the first that is set alone: as the libraries do that
/// huggingface_hub uses now, then as those did that it used before.
const VARIABLES: [&str; 4] =
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Who vouches for a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whom this machine trusts. Where it knows nobody: the authorities that Mozilla lists, which the program carries.
    Machine,
    /// Only those in a file or a folder.
    Named(Setting<PathBuf>),
}

impl Trust {
    pub(super) fn of(path: &dyn Fn(&str) -> Option<Setting<PathBuf>>) -> Trust {
        VARIABLES.iter().find_map(|name| path(name)).map_or(Trust::Machine, Trust::Named)
    }

    pub(super) fn roots(&self) -> Result<RootCerts, Fault> {
        let loaded = match self {
            Trust::Machine => rustls_native_certs::load_native_certs(),
            Trust::Named(Setting { value: path, .. }) => {
                let (file, folder) = match path.is_dir() {
                    true => (None, Some(&**path)),
                    false => (Some(&**path), None),
                };
                rustls_native_certs::load_certs_from_paths(file, folder)
            }
        };
        match self {
            Trust::Machine if loaded.certs.is_empty() => return Ok(RootCerts::WebPki),
            Trust::Named(Setting { value: path, origin }) if loaded.certs.is_empty() => {
                let why = loaded.errors.first().map_or(String::new(), |error| format!(": {error}"));
                let message = format!("{}: no certificate there ({origin}){why}", path.display());
                let hint =
                    format!("name a PEM file or a folder of them with {origin}, or unset it");
                return Err(Fault::down(message, &hint));
            }
            _ => {}
        }
        let certificates = loaded.certs.iter().map(|der| Certificate::from_der(der).to_owned());
        Ok(RootCerts::from(certificates.collect::<Vec<_>>()))
    }
}
