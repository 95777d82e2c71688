//! The page, embedded in the binary. Its sources are in `web/`, as they are sent.

/// Path, media type, bytes.
pub(crate) type Asset = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal),* $(,)?) => {
        pub(crate) const ASSETS: &[Asset] =
            &[$(($path, $kind, include_bytes!(concat!("../../../../web/", $file)))),*];
    };
}
assets! {
    "/" HTML "index.html",
    "/gallery.css" CSS "gallery.css",
    "/app.js" JS "app.js",
    "/server.js" JS "server.js",
    "/plot.js" JS "plot.js",
    "/map.js" JS "map.js",
    "/confusion.js" JS "confusion.js",
    "/training.js" JS "training.js",
    "/springs.js" JS "springs.js",
    "/vendor/regl.min.js" JS "vendor/regl.min.js",
    "/vendor/pub-sub-es.js" JS "vendor/pub-sub-es.js",
    "/vendor/regl-scatterplot.js" JS "vendor/regl-scatterplot.js",
}

/// What lies at a path, if it is part of the page.
pub(crate) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.0 == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_takes_nothing_from_elsewhere() {
        for (path, _, bytes) in ASSETS {
            let text = std::str::from_utf8(bytes).unwrap();
            if path.starts_with("/vendor/") {
                continue;
            }
            for scheme in ["http://", "https://", "src=\"//"] {
                let elsewhere = text.match_indices(scheme).filter(|(at, _)| {
                    // The names of SVG and its like are no addresses.
                    !text[*at..].starts_with("http://www.w3.org/")
                });
                assert_eq!(elsewhere.count(), 0, "{path} names {scheme}");
            }
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_embedded() {
        let html = std::str::from_utf8(asset("/").unwrap().2).unwrap();
        let named = html.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
        let scripts =
            ASSETS.iter().filter(|asset| asset.1 == JS).map(|asset| std::str::from_utf8(asset.2).unwrap());
        let imported = scripts.flat_map(|text| {
            text.lines().filter(|line| line.starts_with("import ")).filter_map(|line| line.split('\'').nth(1))
        });
        let mut count = 0;
        for name in named.chain(imported) {
            let path = format!("/{}", name.trim_start_matches("./").trim_start_matches('/'));
            // A module beside another in vendor/.
            assert!(asset(&path).is_some() || asset(&format!("/vendor{path}")).is_some(), "no {path}");
            count += 1;
        }
        assert!(count > 8, "{count}");
    }
}
