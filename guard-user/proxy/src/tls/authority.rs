//! The guard's certificate authority on this machine: it signs for read-only destinations, towards sessions.
//!
//! Its key is in a file that guardd makes for this process alone and never reads. A session trusts a certificate of that key
//! that is limited to the names and addresses of its read-only destinations, if it can be (RFC 5280 4.2.1.10). So the authority
//! has many certificates, and none of them is for the whole world unless it must be.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek as _, Write as _},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use guard_proto::wire::AuthorityScope;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
    date_time_ymd,
};
use rustls::{
    crypto::ring::{default_provider, sign::any_ecdsa_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::CertifiedKey,
};

use super::scope::subtrees;

/// Bytes of a key at most; one on the curve P-256 has 241 as PEM.
const MAX_KEY: u64 = 4096;
/// Clocks differ, and are set back.
const SKEW: Duration = Duration::from_secs(24 * 3600);
/// Longer than any session: the key is lost at the machine's next start.
const AUTHORITY: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// How long a destination's certificate is valid, and below when a new one is made.
const LEAF: Duration = Duration::from_secs(7 * 24 * 3600);
const RENEWAL: Duration = Duration::from_secs(24 * 3600);
/// Certificates that are cached. Further names have theirs made again.
const MAX_LEAVES: usize = 512;

/// The subject of the authority. Clients that look certificates up in a directory find it by a hash of it.
const ORGANISATION: &str = "guard";
const NAME: &str = "guard read-only CA";

/// The authority, and its cache of signed certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all destinations: it never leaves this process.
    leaf: KeyPair,
    leaves: RefCell<HashMap<ServerName<'static>, Leaf>>,
}

struct Leaf {
    certified: Arc<CertifiedKey>,
    made: SystemTime,
}

impl Authority {
    /// Opens the authority with the key in a file. If the file is empty, a key is made.
    ///
    /// # Errors
    ///
    /// If there is no key.
    pub(crate) fn open(file: OwnedFd) -> Result<Self> {
        let mut file = File::from(file);
        let key = match read(&mut file) {
            Ok(Some(key)) => key,
            Ok(None) => make(&mut file)?,
            Err(error) => {
                tracing::warn!(
                    "the key of guard's certificate authority cannot be read, so there is a new one; sessions that run \
                     trust the old one: {error:#}"
                );
                make(&mut file)?
            }
        };
        Self::of(key)
    }

    fn of(key: KeyPair) -> Result<Self> {
        let leaf = KeyPair::generate().context("cannot make a key")?;
        Ok(Self {
            issuer: Issuer::new(authority(), key),
            leaf,
            leaves: RefCell::default(),
        })
    }

    /// A certificate of the authority for a session to trust, as PEM, limited to that scope.
    ///
    /// # Errors
    ///
    /// If there is no randomness, or a name is invalid.
    pub(crate) fn vouch(&self, scope: &AuthorityScope) -> Result<String> {
        let permitted_subtrees = subtrees(scope);
        let limits = NameConstraints {
            permitted_subtrees,
            excluded_subtrees: Vec::new(),
        };
        let unlimited = limits.permitted_subtrees.is_empty();
        let mut params = authority();
        last(&mut params, AUTHORITY)?;
        params.name_constraints = (!unlimited).then_some(limits);
        Ok(params.self_signed(self.issuer.key())?.pem())
    }

    /// The certificate of a destination of that name.
    ///
    /// # Errors
    ///
    /// If there is no randomness, or the name is invalid.
    pub(crate) fn certified(&self, name: &ServerName<'_>) -> Result<Arc<CertifiedKey>> {
        let name = name.to_owned();
        let mut leaves = self.leaves.borrow_mut();
        let known = leaves.get(&name);
        let known = known.filter(|leaf| {
            leaf.made
                .elapsed()
                .is_ok_and(|age| age < LEAF - RENEWAL - SKEW)
        });
        if let Some(leaf) = known {
            return Ok(Arc::clone(&leaf.certified));
        }
        let certified = Arc::new(self.sign(&name)?);
        if leaves.len() >= MAX_LEAVES {
            leaves.clear();
        }
        let leaf = Leaf {
            certified: Arc::clone(&certified),
            made: SystemTime::now(),
        };
        leaves.insert(name, leaf);
        Ok(certified)
    }

    fn sign(&self, name: &ServerName<'_>) -> Result<CertifiedKey> {
        let mut params = CertificateParams::new(vec![name.to_str().into_owned()])?;
        last(&mut params, LEAF)?;
        // No name in it: if no DNS name is among the subject's alternatives, clients may take it for one.
        params.distinguished_name = subject(None);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.leaf, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf.serialize_der()));
        let key = any_ecdsa_type(&key).context("cannot sign with a key of one's own")?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

fn read(file: &mut File) -> Result<Option<KeyPair>> {
    let mut text = String::new();
    file.rewind()?;
    Read::by_ref(file).take(MAX_KEY).read_to_string(&mut text)?;
    if text.is_empty() {
        Ok(None)
    } else {
        Ok(Some(KeyPair::from_pem(&text)?))
    }
}

fn make(file: &mut File) -> Result<KeyPair> {
    let key = KeyPair::generate().context("cannot make a key")?;
    if let Err(error) = write(file, &key.serialize_pem()) {
        tracing::warn!(
            %error,
            "the key of guard's certificate authority is not kept: once the proxy starts again, sessions distrust it"
        );
    }
    Ok(key)
}

fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        // Half a key is none.
        file.set_len(0)?;
    }
    written
}

/// The parameters that all certificates of the authority share, by which it knows its own.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(Some(NAME));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn subject(name: Option<&str>) -> DistinguishedName {
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, text(ORGANISATION));
    if let Some(name) = name {
        subject.push(DnType::CommonName, text(name));
    }
    subject
}

/// Sets a unique serial number, as clients want within one authority, and the validity.
fn last(params: &mut CertificateParams, time: Duration) -> Result<()> {
    let mut serial = [0; 16];
    let random = default_provider().secure_random.fill(&mut serial);
    random.ok().context("there is no randomness")?;
    // Positive (RFC 5280 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let epoch = date_time_ymd(1970, 1, 1);
    let now = now.unwrap_or_default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + now + time;
    Ok(())
}

/// The certificate of an authority whose key is gone: it has signed nothing.
///
/// # Errors
///
/// Where there is no randomness.
pub(super) fn nobody() -> Result<CertificateDer<'static>> {
    let mut params = authority();
    last(&mut params, LEAF)?;
    Ok(params.self_signed(&KeyPair::generate()?)?.der().clone())
}
