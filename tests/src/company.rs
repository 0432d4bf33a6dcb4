//! A company with a certificate authority of its own, as production has one.

use std::ops::Range;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// The authority. Its key is gone with this value.
#[derive(Debug)]
pub struct Company {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Company {
    /// Founds one.
    ///
    /// # Errors
    ///
    /// Where there is no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names and addresses, and its key, as PEM.
    ///
    /// # Errors
    ///
    /// Where there is no randomness, or that one of them is no name.
    pub fn issue(&self, names: &[&str]) -> Result<String> {
        self.sign(params(names)?)
    }

    /// The same, valid in these years only.
    ///
    /// # Errors
    ///
    /// Where there is no randomness, or that one of them is no name.
    pub fn issue_in(&self, years: Range<i32>, names: &[&str]) -> Result<String> {
        let mut params = params(names)?;
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        self.sign(params)
    }

    /// A certificate for a client of that name and its key, as PEM.
    ///
    /// # Errors
    ///
    /// Where there is no randomness, or that is no name.
    pub fn issue_client(&self, name: &str) -> Result<String> {
        let mut params = params(&[name])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<String> {
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(certificate.pem() + &key.serialize_pem())
    }
}

/// A server's certificate that it has signed itself, as people make them at home, and its key, as PEM.
///
/// # Errors
///
/// Where there is no randomness, or that one of them is no name.
pub fn self_signed(names: &[&str]) -> Result<String> {
    let key = KeyPair::generate()?;
    let certificate = params(names)?.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

fn params(names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
