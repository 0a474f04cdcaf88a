//! PostgreSQL's types: values at their bounds, and for each an SQL expression that tells the value in a plain text of
//! its own, to be compared with what the product decoded.

use headwater::record::Value;

/// One column of the table of all types.
pub struct Column {
    pub name: &'static str,
    pub sql_type: &'static str,
    /// What a pipeline declares when events carry no schema; empty: nothing has to be said.
    pub declared: &'static str,
    /// How SQL tells the value.
    pub told: Told,
    /// SQL literals, without their quotes.
    pub values: &'static [&'static str],
}

/// How a value is told in SQL, and how the product's value is told the same way.
#[derive(Clone, Copy)]
pub enum Told {
    Text,
    /// Without trailing zeros: `numeric` without a scale loses them in the connector.
    Trimmed,
    Float,
    Hex,
    /// Bits, the least significant byte first.
    Bits,
    Days,
    Micros,
    TimeMicros,
    /// `HH:MM:SS.ffffffZ` in UTC.
    ZonedTime,
    /// JSON of an array.
    Array,
    /// Well-known binary of a geometric point.
    Point,
    /// Microseconds, a month being 30.4375 days.
    Interval,
}

const fn column(
    name: &'static str,
    sql_type: &'static str,
    declared: &'static str,
    told: Told,
    values: &'static [&'static str],
) -> Column {
    Column { name, sql_type, declared, told, values }
}

/// All that Debezium captures, but `name`: the connector streams null for it (its snapshots have the value).
pub const COLUMNS: &[Column] = &[
    column("c_bool", "boolean", "", Told::Text, &["true", "false"]),
    column("c_int2", "smallint", "", Told::Text, &["-32768", "32767", "0"]),
    column("c_int4", "integer", "", Told::Text, &["-2147483648", "2147483647"]),
    column("c_int8", "bigint", "", Told::Text, &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    column("c_oid", "oid", "", Told::Text, &["0", "4294967295"]),
    column("c_float4", "real", "float64", Told::Float, &["1.1", "-3.4028235e38", "NaN", "-Infinity", "1e-45"]),
    column(
        "c_float8",
        "double precision",
        "float64",
        Told::Float,
        &["0.1", "1.7976931348623157e308", "5e-324", "NaN", "Infinity"],
    ),
    column(
        "c_dec",
        "numeric(18,2)",
        "decimal(18,2)",
        Told::Text,
        &["-0.01", "1.10", "9999999999999999.99", "0", "-9999999999999999.99"],
    ),
    column(
        "c_dec0",
        "numeric(38,0)",
        "decimal(38,0)",
        Told::Text,
        &["1234", "-1", "99999999999999999999999999999999999999"],
    ),
    column(
        "c_dec_wide",
        "numeric(60,30)",
        "decimal(60,30)",
        Told::Text,
        &["123456789012345678901234567890.123456789012345678901234567891", "-0.000000000000000000000000000001"],
    ),
    column(
        "c_num",
        "numeric",
        "decimal",
        Told::Trimmed,
        &["0", "-1.5000", "1e40", "0.00000000000000000000000000000000000001", "12345678901234567890123456789"],
    ),
    column("c_money", "money", "decimal(,2)", Told::Text, &["12.34", "-92233720368547758.08"]),
    column("c_text", "text", "", Told::Text, &["", "plain", "Ünïcödé 😀 \"quoted\" \\ back\nline\ttab", "null"]),
    column("c_varchar", "varchar(20)", "", Told::Text, &["a", "__debezium_unavail"]),
    column("c_char", "char(5)", "", Told::Text, &["ab", "abcde"]),
    column("c_bytea", "bytea", "bytes", Told::Hex, &["\\x", "\\x00ff10", "\\xdeadbeef"]),
    column(
        "c_date",
        "date",
        "date",
        Told::Days,
        &["1970-01-01", "1969-12-31", "9999-12-31", "10000-01-01", "0001-01-01", "2024-02-29", "infinity"],
    ),
    column(
        "c_ts",
        "timestamp",
        "timestamp",
        Told::Micros,
        &[
            "1970-01-01 00:00:00",
            "1969-12-31 23:59:59.999999",
            "9999-12-31 23:59:59.999999",
            "0001-01-01",
            "infinity",
            "-infinity",
        ],
    ),
    column(
        "c_ts3",
        "timestamp(3)",
        "timestamp(3)",
        Told::Micros,
        &["2024-02-29 12:34:56.789", "1969-12-31 23:59:59.999"],
    ),
    column("c_ts0", "timestamp(0)", "timestamp(0)", Told::Micros, &["2024-02-29 12:34:56"]),
    column(
        "c_tstz",
        "timestamptz",
        "timestamptz",
        Told::Micros,
        &["2024-02-29 12:34:56.123456+02", "1969-12-31 23:59:59.9Z", "infinity", "-infinity", "21016-11-04 00:00:00Z"],
    ),
    column("c_time", "time", "time", Told::TimeMicros, &["00:00:00", "23:59:59.999999", "24:00:00"]),
    column("c_time3", "time(3)", "time(3)", Told::TimeMicros, &["12:34:56.789"]),
    column("c_timetz", "timetz", "", Told::ZonedTime, &["12:34:56.123456+02", "00:00:00Z"]),
    column("c_interval", "interval", "", Told::Interval, &["1 year 2 months 3 days 04:05:06.78", "-1 day", "0"]),
    column("c_json", "json", "json", Told::Text, &["{\"a\": 1.10, \"b\" : [1,2]}", "null", "12345678901234567890.10"]),
    column("c_jsonb", "jsonb", "json", Told::Text, &["{\"a\": 1.10, \"b\": [1, \"ä\"]}", "\"text\""]),
    column("c_uuid", "uuid", "", Told::Text, &["60f14fe2-f857-404a-b586-3b5375b3259f"]),
    column("c_inet", "inet", "", Told::Text, &["192.168.0.1/24", "::1"]),
    column("c_cidr", "cidr", "", Told::Text, &["10.0.0.0/8"]),
    column("c_macaddr", "macaddr", "", Told::Text, &["08:00:2b:01:02:03"]),
    column("c_xml", "xml", "", Told::Text, &["<a b=\"c\">d</a>"]),
    column("c_bit1", "bit(1)", "", Told::Text, &["1", "0"]),
    column("c_bits", "bit(12)", "bits", Told::Bits, &["000000000001", "101010101010"]),
    column("c_enum", "mood", "", Told::Text, &["sad", "it's ok"]),
    column("c_domain", "positive", "", Told::Text, &["1", "2147483647"]),
    column("c_point", "point", "point", Told::Point, &["(1.5,-2)"]),
    column("c_tsrange", "tsrange", "", Told::Text, &["[2024-01-01,2024-02-01)"]),
    column("c_int4range", "int4range", "", Told::Text, &["[1,10)", "empty"]),
    column("c_int8range", "int8range", "", Told::Text, &["[-9223372036854775808,9007199254740993)"]),
    column("c_numrange", "numrange", "", Told::Text, &["(1.10,2.50]"]),
    column("c_daterange", "daterange", "", Told::Text, &["[2024-01-01,2024-02-01)"]),
    column("c_macaddr8", "macaddr8", "", Told::Text, &["08:00:2b:01:02:03:04:05"]),
    column("c_int2_a", "smallint[]", "", Told::Array, &["{-32768,NULL,32767}"]),
    column("c_int8_a", "bigint[]", "", Told::Array, &["{-9223372036854775808,9007199254740993}"]),
    column("c_varchar_a", "varchar(9)[]", "", Told::Array, &["{a,NULL}"]),
    column("c_int4_a", "integer[]", "", Told::Array, &["{1,NULL,-3}", "{}"]),
    column("c_text_a", "text[]", "", Told::Array, &["{a,NULL,\"b c\",\"\\\"\"}", "{}"]),
    column("c_bool_a", "boolean[]", "", Told::Array, &["{t,f,NULL}"]),
    column("c_dec_a", "numeric(10,2)[]", "decimal(10,2)[]", Told::Array, &["{1.10,NULL,-0.01}"]),
    column("c_date_a", "date[]", "date[]", Told::Array, &["{1969-12-31,NULL}"]),
    column("c_tstz_a", "timestamptz[]", "timestamptz[]", Told::Array, &["{2024-02-29 12:34:56Z}"]),
    column("c_uuid_a", "uuid[]", "", Told::Array, &["{60f14fe2-f857-404a-b586-3b5375b3259f}"]),
    column("c_citext", "citext", "", Told::Text, &["CaSe"]),
    column("c_ltree", "ltree", "", Told::Text, &["a.b.c"]),
    column("c_hstore", "hstore", "json", Told::Text, &["a=>1, b=>NULL"]),
];

impl Column {
    /// The SQL expression that tells the value.
    pub fn expression(&self) -> String {
        let name = self.name;
        match self.told {
            Told::Text if self.sql_type == "hstore" => format!("hstore_to_json({name})::jsonb::text"),
            Told::Text if self.sql_type == "money" => format!("({name}::numeric(20,2))::text"),
            Told::Text if self.sql_type.starts_with("char(") => format!("rpad({name}::text, 5)"),
            Told::Text if self.sql_type == "bit(1)" => format!("({name} = B'1')::text"),
            Told::Text if self.sql_type == "inet" => format!("trim('\"' FROM to_json({name})::text)"),
            Told::Text => format!("{name}::text"),
            Told::Trimmed => format!("trim_scale({name})::text"),
            Told::Float => format!("{name}::text"),
            Told::Hex => format!("encode({name}, 'hex')"),
            Told::Bits => format!("lpad(to_hex({name}::int & 255), 2, '0') || lpad(to_hex({name}::int >> 8), 2, '0')"),
            Told::Days => {
                format!("CASE WHEN isfinite({name}) THEN ({name} - date '1970-01-01')::text ELSE {name}::text END")
            }
            Told::Micros => {
                format!(
                    "CASE WHEN isfinite({name}) THEN (extract(epoch FROM {name}) * 1000000)::bigint::text ELSE {name}::text END"
                )
            }
            Told::TimeMicros => format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"),
            Told::ZonedTime => {
                format!("to_char(('2000-01-01'::date + ({name} AT TIME ZONE 'UTC')::time), 'HH24:MI:SS.US')")
            }
            Told::Array => format!("to_json({name})::text"),
            Told::Point => format!("{name}[0]::text || ',' || {name}[1]::text"),
            Told::Interval => format!(
                "((extract(year FROM {name}) * 12 + extract(month FROM {name})) * 30.4375 * 86400000000 \
                 + extract(day FROM {name}) * 86400000000 + extract(hour FROM {name}) * 3600000000 \
                 + extract(minute FROM {name}) * 60000000 + extract(microseconds FROM {name}))::bigint::text"
            ),
        }
    }

    /// The decoded value, told the same way.
    pub fn tell(&self, value: &Value) -> Option<String> {
        let micros = |at: headwater::record::Timestamp| match at.is_finite() {
            true => (i128::from(at.secs) * 1_000_000 + i128::from(at.nanos) / 1_000).to_string(),
            false => at.to_string(),
        };
        Some(match (self.told, value) {
            (_, Value::Null) => return None,
            (Told::Text | Told::Trimmed, Value::Decimal(d)) => d.to_string(),
            (Told::Text, Value::Bool(b)) => b.to_string(),
            (Told::Text, Value::Int(n)) => n.to_string(),
            (Told::Text, Value::Json(text)) if self.sql_type == "hstore" => {
                text.replace("\":", "\": ").replace(",\"", ", \"")
            }
            (Told::Text, Value::Text(text) | Value::Json(text)) => text.to_string(),
            (Told::Float, Value::Float(f)) if f.is_nan() => "NaN".to_string(),
            (Told::Float, Value::Float(f)) if f.is_infinite() => {
                if *f > 0.0 { "Infinity" } else { "-Infinity" }.to_string()
            }
            (Told::Float, Value::Float(f)) => f.to_string(),
            (Told::Hex | Told::Bits, Value::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
            (Told::Days, Value::Date(date)) if date.to_string().ends_with("infinity") => date.to_string(),
            (Told::Days, Value::Date(date)) => date.days.to_string(),
            (Told::Micros, Value::Timestamp(at) | Value::TimestampTz(at)) => micros(*at),
            (Told::TimeMicros | Told::Interval, Value::Time(time)) => (time.nanos / 1_000).to_string(),
            (Told::ZonedTime, Value::Text(text)) => text.to_string(),
            (Told::Array, Value::List(_)) => value.to_json(),
            (Told::Point, Value::Map(entries)) => {
                let wkb = entries.iter().find(|(name, _)| *name == "wkb").map(|(_, value)| value);
                let Some(Value::Bytes(wkb)) = wkb else { panic!("a point without bytes: {value:?}") };
                let number = |at: usize| f64::from_le_bytes(wkb[at..at + 8].try_into().unwrap());
                format!("{},{}", number(5), number(13))
            }
            _ => panic!("{}: {value:?}", self.name),
        })
    }

    /// Whether the two tell the same value.
    pub fn agree(&self, sql: Option<&str>, told: Option<&str>) -> bool {
        let (Some(sql), Some(told)) = (sql, told) else { return sql == told };
        match self.told {
            Told::Float if self.sql_type == "real" => {
                sql == told || sql.parse::<f32>().is_ok_and(|a| told.parse() == Ok(a))
            }
            Told::Float => sql == told || sql.parse::<f64>().is_ok_and(|a| told.parse() == Ok(a)),
            // The connector leaves out leading zero bits.
            Told::Bits => sql.trim_end_matches("00") == told.trim_end_matches("00"),
            Told::ZonedTime => {
                let told = told.strip_suffix('Z').unwrap_or(told);
                sql.trim_end_matches('0').trim_end_matches('.') == told || sql.starts_with(told)
            }
            Told::Array => sql.replace("+00:00", "Z") == told,
            _ => sql == told,
        }
    }
}
