//! A certificate authority for tests: signs what it is told, expired and revoked certificates included.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};

/// An authority with a key of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// What a certificate should say.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'w> {
    /// DNS names and IP addresses.
    pub names: &'w [&'w str],
    pub uris: &'w [&'w str],
    pub common_name: &'w str,
    pub serial: u64,
    pub is_expired: bool,
}

impl Authority {
    /// One that signed itself.
    ///
    /// # Panics
    /// The system gives no random bytes: the test is over.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.distinguished_name = called(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("the system has random bytes");
        let pem = params.self_signed(&key).expect("the parameters are complete").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names.
    ///
    /// # Panics
    /// A name is none.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_wanted(&Wanted {
            names,
            common_name: names.first().unwrap_or(&"nobody"),
            ..Wanted::default()
        })
    }

    /// A certificate that says what is wanted, for servers and clients alike.
    ///
    /// # Panics
    /// A name or an URI is none.
    pub fn issue_wanted(&self, wanted: &Wanted<'_>) -> Issued {
        let names: Vec<_> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid");
        for uri in wanted.uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().expect("the URI is ASCII")));
        }
        params.distinguished_name = called(wanted.common_name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        if wanted.serial != 0 {
            params.serial_number = Some(SerialNumber::from(wanted.serial));
        }
        if wanted.is_expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("the system has random bytes");
        let cert = params.signed_by(&key, &self.issuer).expect("the parameters are complete").pem();
        Issued { cert, key: key.serialize_pem() }
    }

    /// A revocation list with these serial numbers.
    ///
    /// # Panics
    /// It cannot be signed.
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("the authority may sign lists");
        list.pem().expect("a list can be written")
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}
