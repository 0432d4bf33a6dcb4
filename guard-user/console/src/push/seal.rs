//! A message that only one browser reads: RFC 8291 over RFC 8188's `aes128gcm`, in one record.

use anyhow::{Result, anyhow, ensure};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    rand::{SecureRandom as _, SystemRandom},
};

/// Bytes of a public key: a point of P-256, uncompressed.
pub(super) const POINT: usize = 65;
/// Bytes of what a browser shares beside its key.
pub(super) const AUTH: usize = 16;
/// Bytes of a record at most: what every push service takes.
const RECORD: u32 = 4096;
/// A message has a multiple of this many bytes: its length tells its carrier little.
const STEP: usize = 512;
/// Ends what is meant, in the last record. Zeros follow.
const END: u8 = 2;
const TAG: usize = 16;

/// What a message is sealed with.
struct Secrets<'a> {
    shared: &'a [u8],
    auth: &'a [u8],
    /// The browser's key, and ours for this message alone.
    device: &'a [u8],
    own: &'a [u8],
    salt: &'a [u8],
}

/// Seals a text for a browser.
///
/// # Errors
///
/// That its key is none, or the text is too long.
pub(super) fn seal(text: &[u8], device: &[u8], auth: &[u8]) -> Result<Vec<u8>> {
    let random = SystemRandom::new();
    let broken = |_| anyhow!("there are no random numbers");
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(broken)?;
    let own = private.compute_public_key().map_err(broken)?;
    let mut salt = [0; 16];
    random.fill(&mut salt).map_err(broken)?;
    let length = (text.len() + 1).next_multiple_of(STEP);
    let sealed = |shared: &[u8]| {
        let secrets = Secrets {
            shared,
            auth,
            device,
            own: own.as_ref(),
            salt: &salt,
        };
        sealed(text, length, &secrets)
    };
    agree_ephemeral(private, &UnparsedPublicKey::new(&ECDH_P256, device), sealed)
        .map_err(|_| anyhow!("the device's key is no point of P-256"))?
}

/// The same with secrets that are given, for a record of that many bytes before it is encrypted.
fn sealed(text: &[u8], length: usize, secrets: &Secrets<'_>) -> Result<Vec<u8>> {
    let key = Salt::new(HKDF_SHA256, secrets.auth).extract(secrets.shared);
    let info = [b"WebPush: info\0", secrets.device, secrets.own];
    let key = expanded::<32>(&key, &info)?;
    let key = Salt::new(HKDF_SHA256, secrets.salt).extract(&key);
    let nonce = expanded::<NONCE_LEN>(&key, &[b"Content-Encoding: nonce\0"])?;
    let key = expanded::<16>(&key, &[b"Content-Encoding: aes128gcm\0"])?;
    let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| anyhow!("no key"))?;

    ensure!(
        length > text.len() && length + TAG <= RECORD as usize,
        "the message is too long"
    );
    let mut record = text.to_vec();
    record.push(END);
    record.resize(length, 0);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut record,
        )
        .map_err(|_| anyhow!("cannot encrypt"))?;
    let id = u8::try_from(secrets.own.len())?;
    let size = RECORD.to_be_bytes();
    Ok([secrets.salt, &size, &[id], secrets.own, &record].concat())
}

fn expanded<const N: usize>(key: &Prk, info: &[&[u8]]) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = key
        .expand(info, Length(N))
        .and_then(|key| key.fill(&mut bytes));
    filled.map_err(|_| anyhow!("no key"))?;
    Ok(bytes)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64URL_NOPAD;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    /// Section 5 and appendix A of RFC 8291.
    #[test]
    fn it_is_the_rfcs_example_bit_for_bit() {
        let secrets = Secrets {
            shared: &bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs"),
            auth: &bytes("BTBZMqHH6r4Tts7J_aSIgg"),
            device: &bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            own: &bytes(
                "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
            ),
            salt: &bytes("DGv6ra1nlYgDCS1FRnbzlw"),
        };
        let text = b"When I grow up, I want to be a watermelon";
        let sealed = sealed(text, text.len() + 1, &secrets).unwrap();
        assert_eq!(
            BASE64URL_NOPAD.encode(&sealed),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn its_length_tells_little_and_no_key_is_used_twice() {
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
        let device = private.compute_public_key().unwrap();
        let sealed = |length| seal(&vec![b'x'; length], device.as_ref(), &[7; AUTH]);
        let (one, two) = (sealed(1).unwrap(), sealed(511).unwrap());
        assert_eq!((one.len(), two.len()), (86 + 528, 86 + 528));
        assert_ne!(one[..16], two[..16]);
        assert_ne!(one[21..86], two[21..86]);
        assert_eq!(sealed(512).unwrap().len(), 86 + 1040);
        assert!(sealed(3583).unwrap().len() <= 4096 && sealed(4095).is_err());
        for wrong in [&[][..], &[4; POINT], &device.as_ref()[1..]] {
            assert!(seal(b"x", wrong, &[7; AUTH]).is_err());
        }
    }
}
