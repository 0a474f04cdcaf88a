//! Where the customers live and where else they pay: names, streets, cities and currencies of real places.

/// A country of the euro area in which the bank has customers.
#[derive(Clone, Copy, Default)]
pub struct Home {
    /// ISO 3166 code.
    pub code: &'static str,
    /// How many of the customers live there, relative to the other countries.
    pub weight: u32,
    /// City and the postal code of one of its quarters.
    pub cities: &'static [(&'static str, &'static str)],
    /// Street names without house numbers.
    pub streets: &'static [&'static str],
    /// Given names.
    pub first_names: &'static [&'static str],
    /// Family names.
    pub last_names: &'static [&'static str],
    /// International dialling code.
    pub dialling: &'static str,
}

/// A country outside the euro area: what is paid there is converted.
#[derive(Clone, Copy, Default)]
pub struct Abroad {
    /// ISO 3166 code.
    pub code: &'static str,
    /// ISO 4217 code.
    pub currency: &'static str,
    /// Units of that currency for one euro, in millionths.
    pub per_euro_millionths: i64,
    /// Cities where cards are used.
    pub cities: &'static [&'static str],
}

/// The countries of the customers.
pub const HOMES: &[Home] = &[
    Home {
        code: "DE",
        weight: 40,
        cities: &[
            ("Berlin", "10115"),
            ("Hamburg", "20095"),
            ("München", "80331"),
            ("Köln", "50667"),
            ("Leipzig", "04109"),
            ("Düsseldorf", "40213"),
            ("Freiburg im Breisgau", "79098"),
        ],
        streets: &["Hauptstraße", "Gartenweg", "Schillerstraße", "Am Mühlbach", "Königsallee", "Bahnhofstraße"],
        first_names: &["Anna", "Jürgen", "Leonie", "Mehmet", "Sabine", "Jonas", "Käthe", "Björn", "Aylin", "Friedrich"],
        last_names: &["Müller", "Schäfer", "Yılmaz", "Weiß", "Krüger", "Hoffmann", "von der Heide", "Nowak", "Böhm"],
        dialling: "+49",
    },
    Home {
        code: "FR",
        weight: 18,
        cities: &[
            ("Paris", "75011"),
            ("Lyon", "69002"),
            ("Marseille", "13001"),
            ("Saint-Étienne", "42000"),
            ("Nîmes", "30000"),
        ],
        streets: &[
            "rue de la République",
            "avenue Jean Jaurès",
            "boulevard Voltaire",
            "place d'Armes",
            "rue du Château",
        ],
        first_names: &["Camille", "Hélène", "François", "Loïc", "Zoé", "Mathéo", "Inès", "Jean-Baptiste"],
        last_names: &["Lefèvre", "Dubois", "N'Guyen", "Garçon", "d'Alembert", "Moreau", "Benoît"],
        dialling: "+33",
    },
    Home {
        code: "NL",
        weight: 12,
        cities: &[
            ("Amsterdam", "1012 AB"),
            ("Utrecht", "3511 LN"),
            ("'s-Hertogenbosch", "5211 JW"),
            ("Groningen", "9711 LM"),
        ],
        streets: &["Kerkstraat", "Prinsengracht", "Molenweg", "Burgemeester de Vlugtlaan", "Dorpsstraat"],
        first_names: &["Daan", "Sanne", "Femke", "Thijs", "Noa", "Jeroen", "Maaike"],
        last_names: &["de Vries", "van den Berg", "Jansen", "van 't Hoff", "Bakker", "IJzerman"],
        dialling: "+31",
    },
    Home {
        code: "ES",
        weight: 10,
        cities: &[("Madrid", "28013"), ("Sevilla", "41001"), ("A Coruña", "15001"), ("València", "46001")],
        streets: &["Calle Mayor", "Avenida de la Constitución", "Paseo de Gracia", "Calle del Niño Jesús"],
        first_names: &["Lucía", "José", "Begoña", "Íñigo", "Martina", "Álvaro"],
        last_names: &["García Núñez", "Fernández", "Ibáñez", "Etxeberria", "López de Haro", "Muñoz"],
        dialling: "+34",
    },
    Home {
        code: "IT",
        weight: 10,
        cities: &[("Milano", "20121"), ("Roma", "00184"), ("Torino", "10121"), ("Forlì", "47121")],
        streets: &["Via Roma", "Corso Garibaldi", "Piazza dell'Unità d'Italia", "Via San Nicolò"],
        first_names: &["Giulia", "Niccolò", "Francesca", "Matteo", "Chiara", "Lorenzo"],
        last_names: &["Rossi", "D'Angelo", "Bianchi", "De Luca", "Ferrari", "Nicolò"],
        dialling: "+39",
    },
    Home {
        code: "AT",
        weight: 6,
        cities: &[("Wien", "1010"), ("Graz", "8010"), ("St. Pölten", "3100"), ("Innsbruck", "6020")],
        streets: &["Mariahilfer Straße", "Ringstraße", "Am Graben", "Schönbrunner Straße"],
        first_names: &["Lukas", "Katharina", "Franz", "Magdalena", "Jörg"],
        last_names: &["Gruber", "Größl", "Pichler", "Moser", "Öllinger"],
        dialling: "+43",
    },
    Home {
        code: "BE",
        weight: 4,
        cities: &[("Bruxelles", "1000"), ("Antwerpen", "2000"), ("Liège", "4000"), ("Gent", "9000")],
        streets: &["Rue Neuve", "Meir", "Chaussée d'Ixelles", "Korenmarkt"],
        first_names: &["Louise", "Arthur", "Lotte", "Céline", "Wout"],
        last_names: &["Peeters", "Janssens", "Dupont", "Maes", "Lambrecht-D'Haese"],
        dialling: "+32",
    },
];

/// Where customers travel, or order from.
pub const ABROAD: &[Abroad] = &[
    Abroad { code: "GB", currency: "GBP", per_euro_millionths: 856_130, cities: &["LONDON", "LEEDS", "EDINBURGH"] },
    Abroad { code: "CH", currency: "CHF", per_euro_millionths: 941_720, cities: &["ZUERICH", "BASEL", "GENEVE"] },
    Abroad { code: "PL", currency: "PLN", per_euro_millionths: 4_283_450, cities: &["WARSZAWA", "KRAKOW", "GDANSK"] },
    Abroad { code: "CZ", currency: "CZK", per_euro_millionths: 25_118_000, cities: &["PRAHA", "BRNO"] },
    Abroad { code: "SE", currency: "SEK", per_euro_millionths: 11_342_600, cities: &["STOCKHOLM", "MALMO"] },
    Abroad { code: "HU", currency: "HUF", per_euro_millionths: 391_550_000, cities: &["BUDAPEST"] },
    Abroad {
        code: "US",
        currency: "USD",
        per_euro_millionths: 1_083_900,
        cities: &["NEW YORK", "SAN FRANCISCO CA", "MIAMI FL"],
    },
];

/// The country with this code; the first one for a code that the bank does not know.
pub fn home(code: &str) -> Home {
    HOMES.iter().find(|home| home.code == code).or(HOMES.first()).copied().unwrap_or_default()
}

/// A name as card terminals print it: capitals without accents.
pub fn printed(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_uppercase) {
        match letter {
            'Ä' => plain.push_str("AE"),
            'Ö' => plain.push_str("OE"),
            'Ü' => plain.push_str("UE"),
            'À' | 'Á' | 'Â' => plain.push('A'),
            'È' | 'É' | 'Ê' => plain.push('E'),
            'Ì' | 'Í' | 'Î' | 'Ï' | 'İ' => plain.push('I'),
            'Ò' | 'Ó' | 'Ô' => plain.push('O'),
            'Ù' | 'Ú' => plain.push('U'),
            'Ç' => plain.push('C'),
            'Ñ' => plain.push('N'),
            _ if letter.is_ascii() => plain.push(letter),
            _ => {}
        }
    }
    plain
}
