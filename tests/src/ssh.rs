//! Keys of OpenSSH, and what they sign.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::exec;

/// Somebody's key, without a passphrase.
#[derive(Debug)]
pub struct SshKey {
    /// Its private half.
    pub file: PathBuf,
    /// As guardd calls it.
    pub id: String,
}

impl SshKey {
    /// Makes one in a file.
    ///
    /// # Errors
    ///
    /// What `ssh-keygen` said.
    pub fn new(file: PathBuf) -> Result<Self> {
        let mut keygen = Command::new("ssh-keygen");
        exec::run(
            keygen
                .args(["-q", "-N", "", "-t", "ed25519", "-f"])
                .arg(&file),
        )?;
        let listed = exec::run(Command::new("ssh-keygen").arg("-lf").arg(&file))?;
        let id = listed.split(' ').nth(1).context("no fingerprint")?;
        Ok(Self {
            id: id.to_owned(),
            file,
        })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.file.with_extension("pub")
    }

    /// A signed answer, as `guard answer --signed` takes it, by `ssh-keygen -Y sign`.
    ///
    /// # Errors
    ///
    /// What that said.
    pub fn sign(&self, answer: &str, namespace: &str) -> Result<Value> {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-Y", "sign", "-n", namespace, "-f"]);
        let signed = exec::output_with(keygen.arg(&self.file), answer)?;
        ensure!(signed.status.success(), "ssh-keygen: {signed:?}");
        let armoured = String::from_utf8(signed.stdout)?;
        let lines = armoured.lines().filter(|line| !line.starts_with("-----"));
        let signature: String = lines.collect();
        let signature = signature.replace('+', "-").replace('/', "_");
        Ok(json!({
            "answer": answer,
            "key": self.id,
            "kind": "ssh",
            "signature": signature.trim_end_matches('='),
            "authenticator_data": null,
            "client_data": null,
        }))
    }
}
