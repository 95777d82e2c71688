//! Who may ask.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{HeaderMap, StatusCode};

use crate::error::{ApiError, ServeError};

/// The token that is wanted, if any, and whether only this machine is served.
pub(crate) struct Gate {
    /// Only the hash is kept: comparing hashes takes the same time whatever was sent, and BLAKE3's comparison is of constant time.
    token: Option<blake3::Hash>,
    local: bool,
}

/// Characters below which a token is guessed.
const SHORTEST: usize = 16;

impl Gate {
    pub fn new(token: Option<&str>, address: SocketAddr) -> Result<Self, ServeError> {
        if let Some(token) = token {
            let found = match token.len() {
                length if length < SHORTEST => Some(format!("{length} characters")),
                _ if !token.bytes().all(|b| b.is_ascii_graphic()) => Some("another character".to_owned()),
                _ => None,
            };
            found.map_or(Ok(()), |found| Err(ServeError::Token { found }))?;
        }
        Ok(Self {
            token: token.map(|token| blake3::hash(token.as_bytes())),
            local: address.ip().is_loopback(),
        })
    }

    /// Whether a token is wanted.
    pub fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    /// Refuses pages of other sites, which a browser on this machine would let in. A name that leads here from elsewhere (DNS
    /// rebinding) is told by its host, a form or script of another site by its origin.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(HOST);
        if self.local && !host.is_some_and(names_this_machine) {
            let message = "this server answers to localhost only, by that name or its address";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "other_host", message));
        }
        match text(ORIGIN) {
            Some(origin) if origin.split_once("://").map(|(_, host)| host) != host => {
                let message = "requests of pages of other sites are not answered";
                Err(ApiError::new(StatusCode::FORBIDDEN, "other_origin", message))
            }
            _ => Ok(()),
        }
    }

    pub fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(wanted) = &self.token else { return Ok(()) };
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = sent.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match token {
            Some((_, token)) if blake3::hash(token.trim().as_bytes()) == *wanted => Ok(()),
            _ => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "wanted the header 'authorization: Bearer …' with this server's token",
            )),
        }
    }
}

fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_token_is_compared_whole_and_the_scheme_is_not_case_sensitive() {
        let gate = Gate::new(Some("0123456789abcdef"), ([0, 0, 0, 0], 80).into()).unwrap();
        let code = |sent| gate.check_token(&headers(&[("authorization", sent)])).err().map(|e| e.code);
        assert_eq!(code("Bearer 0123456789abcdef"), None);
        assert_eq!(code("bearer 0123456789abcdef"), None);
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdefg", "Basic 0123456789abcdef", "Bearer"]
        {
            assert_eq!(code(wrong), Some("unauthorized"), "{wrong}");
        }
        assert!(gate.check_token(&HeaderMap::new()).is_err());
        assert!(Gate::new(Some("short"), ([0, 0, 0, 0], 80).into()).is_err());
        assert!(Gate::new(Some("0123456789 abcdef"), ([0, 0, 0, 0], 80).into()).is_err());
    }

    #[test]
    fn a_server_of_this_machine_answers_to_its_own_names_only() {
        let gate = Gate::new(None, ([127, 0, 0, 1], 8000).into()).unwrap();
        let code = |host| gate.check_origin(&headers(&[("host", host)])).err().map(|e| e.code);
        for own in ["localhost:8000", "127.0.0.1:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1"] {
            assert_eq!(code(own), None, "{own}");
        }
        for other in ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example:80", ""] {
            assert_eq!(code(other), Some("other_host"), "{other}");
        }
        let public = Gate::new(None, ([0, 0, 0, 0], 8000).into()).unwrap();
        assert!(public.check_origin(&headers(&[("host", "photos.example")])).is_ok());
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let gate = Gate::new(None, ([127, 0, 0, 1], 8000).into()).unwrap();
        let code = |origin: &str| {
            let sent = headers(&[("host", "localhost:8000"), ("origin", origin)]);
            gate.check_origin(&sent).err().map(|e| e.code)
        };
        assert_eq!(code("http://localhost:8000"), None);
        for other in ["http://evil.example", "null", "http://localhost:9000"] {
            assert_eq!(code(other), Some("other_origin"), "{other}");
        }
    }
}
