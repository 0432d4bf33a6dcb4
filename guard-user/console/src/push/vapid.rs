//! Who sends: RFC 8292. A browser's subscription is for whoever has this key, and its service takes messages of nobody else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;

use crate::settings::WebOrigin;

/// Seconds that a token counts: services take a day at most.
const LIFE: u64 = 12 * 3600;

/// The key.
pub(crate) struct Vapid {
    key: EcdsaKeyPair,
}

impl Vapid {
    /// The key in that directory, which is made where there is none.
    ///
    /// # Errors
    ///
    /// That it cannot be read or made. One that is broken is not replaced: each device would have to be added again, by its owner.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let file = dir.join("vapid.key");
        let broken = || format!("{} is no key", file.display());
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&file),
            read => read,
        };
        let bytes = bytes.with_context(broken)?;
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(kind, &bytes, &SystemRandom::new());
        let key = key
            .map_err(|error| anyhow!("{error}"))
            .with_context(broken)?;
        Ok(Self { key })
    }

    /// What a browser subscribes for.
    pub(crate) fn public(&self) -> String {
        BASE64URL_NOPAD.encode(self.key.public_key().as_ref())
    }

    /// What a request to a push service says in `Authorization`. Its maker can be told who sends where that is a page of the
    /// internet.
    pub(super) fn authorization(
        &self,
        audience: &str,
        origin: &WebOrigin,
        now: u64,
    ) -> Result<String> {
        let head = json!({ "typ": "JWT", "alg": "ES256" });
        let mut claims = json!({ "aud": audience, "exp": now + LIFE });
        if origin.is_https() {
            claims["sub"] = json!(origin.as_str());
        }
        let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let said = format!("{}.{}", part(head), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), said.as_bytes());
        let signature = signature.map_err(|_| anyhow!("there are no random numbers"))?;
        let signature = BASE64URL_NOPAD.encode(signature.as_ref());
        Ok(format!("vapid t={said}.{signature}, k={}", self.public()))
    }
}

/// Of two who make it at once, both use the one that is there first.
fn make(file: &Path) -> io::Result<Vec<u8>> {
    let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new());
    let made = made.map_err(|_| io::Error::other("there are no random numbers"))?;
    let own = file.with_extension(format!("{}.new", std::process::id()));
    let mut open = OpenOptions::new();
    let open = open.write(true).create(true).truncate(true).mode(0o600);
    let mut to = open.open(&own)?;
    to.write_all(made.as_ref())?;
    to.sync_all()?;
    let linked = fs::hard_link(&own, file);
    fs::remove_file(&own)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let one = Vapid::open(dir.path()).unwrap().public();
        assert_eq!(Vapid::open(dir.path()).unwrap().public(), one);
        let file = dir.path().join("vapid.key");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&file, "x").unwrap();
        assert!(Vapid::open(dir.path()).is_err(), "it is not replaced");
    }

    #[test]
    fn a_token_is_signed_for_one_service_and_some_hours() {
        let dir = tempfile::tempdir().unwrap();
        let vapid = Vapid::open(dir.path()).unwrap();
        let said = |origin: &str| {
            let origin = origin.parse().unwrap();
            let said = vapid.authorization("https://push.example", &origin, 1000);
            let said = said.unwrap();
            let (token, key) = said
                .strip_prefix("vapid t=")
                .unwrap()
                .split_once(", k=")
                .unwrap();
            let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
            let (text, signature) = token.rsplit_once('.').unwrap();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decoded(key));
            public.verify(text.as_bytes(), &decoded(signature)).unwrap();
            let mut parts = text
                .split('.')
                .map(|part| serde_json::from_slice::<Value>(&decoded(part)).unwrap());
            assert_eq!(
                parts.next().unwrap(),
                json!({ "typ": "JWT", "alg": "ES256" })
            );
            parts.next().unwrap()
        };
        let claims = json!({ "aud": "https://push.example", "exp": 44200, "sub": "https://guard.example.net" });
        assert_eq!(said("https://guard.example.net"), claims);
        assert_eq!(said("http://guard.localhost:4827")["sub"], Value::Null);
    }
}
