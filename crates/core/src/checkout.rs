//! What the billing routes may be asked for: bodies become a checkout or a person's id, or one named violation.

use crate::intake::{Invalid, shown, text};
use crate::json::{decode, entries};
use crate::user::{check_email, normalize_email, readable};

/// `error` of a checkout that breaks the rules.
pub const INVALID_CHECKOUT: &str = "Invalid checkout payload";

/// Stripe keeps no longer reference.
pub const MAX_USER_ID_CHARS: usize = 200;
pub const MAX_PRICE_ID_CHARS: usize = 255;

/// A checkout of one item. What is not given is the operator's or the customer's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutRequest {
    pub price_id: Option<String>,
    /// Normalised and checked.
    pub email: Option<String>,
    pub user_id: Option<String>,
}

/// Reads a checkout. A null is as good as nothing: browsers send it for what they do not know.
pub fn parse_checkout(body: &[u8]) -> Result<CheckoutRequest, Invalid> {
    let body = readable(body)?;
    let refuse = |details: String| Invalid { error: INVALID_CHECKOUT.to_owned(), details: Some(details) };
    let found =
        entries(&body).ok_or_else(|| refuse(format!("the body must be an object, not {}", shown(&body))))?;
    let mut request = CheckoutRequest::default();
    for (raw_name, raw) in found {
        let name = decode(raw_name).unwrap_or_default();
        let field = |allowed: &str| refuse(format!("{name}: {} is not allowed, it {allowed}", shown(raw)));
        let given = raw != "null";
        match name.as_ref() {
            "price_id" => {
                let allowed = "must be a string of 1 to 255 characters without NUL";
                request.price_id = given
                    .then(|| text(raw, 1, MAX_PRICE_ID_CHARS).ok_or_else(|| field(allowed)))
                    .transpose()?
                    .map(Into::into);
            }
            "email" => {
                let address = || {
                    let sent = decode(raw).ok_or_else(|| field("must be a string"))?;
                    let email = normalize_email(&sent);
                    check_email(&email).map_err(|problem| field(&problem.to_string()))?;
                    Ok(email)
                };
                request.email = given.then(address).transpose()?;
            }
            "user_id" => {
                request.user_id = given.then(|| user_id(raw).ok_or_else(|| field(USER_ID))).transpose()?
            }
            _ => {
                let allowed = "allowed are price_id, email, user_id";
                return Err(refuse(format!("unknown member {}, {allowed}", shown(raw_name))));
            }
        }
    }
    Ok(request)
}

/// Reads `{"user_id": …}`: whose portal it is to be.
pub fn parse_portal(body: &[u8]) -> Result<String, String> {
    let body = readable(body).map_err(|invalid| invalid.details.unwrap_or(invalid.error))?;
    let found = entries(&body).ok_or_else(|| format!("the body must be an object, not {}", shown(&body)))?;
    let mut id = None;
    for (raw_name, raw) in found {
        if decode(raw_name).as_deref() != Some("user_id") {
            return Err(format!("unknown member {}, allowed is user_id", shown(raw_name)));
        }
        let allowed = || format!("user_id: {} is not allowed, it {USER_ID}", shown(raw));
        id = Some(user_id(raw).ok_or_else(allowed)?);
    }
    id.ok_or_else(|| "user_id is required: a string".to_owned())
}

const USER_ID: &str = "must be a string of 1 to 200 characters without control characters";

fn user_id(raw: &str) -> Option<String> {
    let id = text(raw, 1, MAX_USER_ID_CHARS)?;
    (!id.chars().any(char::is_control)).then(|| id.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_member_of_a_checkout_may_be_left_out_or_null() {
        let all = parse_checkout(br#"{"price_id":"price_1","email":" Ada@Example.org ","user_id":"u1"}"#);
        let expected = CheckoutRequest {
            price_id: Some("price_1".to_owned()),
            email: Some("ada@example.org".to_owned()),
            user_id: Some("u1".to_owned()),
        };
        assert_eq!(all.unwrap(), expected);
        for body in ["{}", r#"{"price_id":null,"email":null,"user_id":null}"#] {
            assert_eq!(parse_checkout(body.as_bytes()).unwrap(), CheckoutRequest::default());
        }
    }

    #[test]
    fn what_is_wrong_with_a_checkout_is_named() {
        let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(201));
        for (body, error, word) in [
            ("", "invalid JSON", "line 1"),
            ("{", "invalid JSON", "line 1"),
            ("a=b", "invalid JSON", "line 1"),
            ("[]", INVALID_CHECKOUT, "object"),
            ("null", INVALID_CHECKOUT, "object"),
            (r#"{"price_id":7}"#, INVALID_CHECKOUT, "price_id: 7"),
            (r#"{"price_id":""}"#, INVALID_CHECKOUT, "price_id"),
            (r#"{"email":"nobody"}"#, INVALID_CHECKOUT, "email"),
            (r#"{"email":{}}"#, INVALID_CHECKOUT, "email"),
            (r#"{"email":"a@b.co\r\nbcc: c@d.co"}"#, INVALID_CHECKOUT, "email"),
            (r#"{"user_id":"a\nb"}"#, INVALID_CHECKOUT, "user_id"),
            (r#"{"user_id":7}"#, INVALID_CHECKOUT, "user_id"),
            (&long, INVALID_CHECKOUT, "200"),
            (r#"{"amount":1}"#, INVALID_CHECKOUT, "amount"),
        ] {
            let invalid = parse_checkout(body.as_bytes()).unwrap_err();
            assert_eq!(invalid.error, error, "{body}");
            assert!(invalid.details.as_deref().unwrap().contains(word), "{body}: {invalid}");
        }
    }

    #[test]
    fn a_portal_is_for_one_person() {
        assert_eq!(parse_portal(br#"{"user_id":"u1"}"#).as_deref(), Ok("u1"));
        for (body, word) in [
            ("", "line 1"),
            ("[]", "object"),
            ("{}", "required"),
            (r#"{"user_id":null}"#, "null"),
            (r#"{"user_id":""}"#, "200"),
            (r#"{"user_id":"u1","x":1}"#, "\"x\""),
        ] {
            assert!(parse_portal(body.as_bytes()).unwrap_err().contains(word), "{body}");
        }
    }
}
