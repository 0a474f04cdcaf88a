//! MariaDB's types: values at their bounds, and for each an SQL expression that tells the value in a plain text of its
//! own, to be compared with what the raw store holds.

use headwater::record::{Timestamp, Value};

/// One column of the table of all types.
pub struct Column {
    pub name: &'static str,
    pub sql_type: &'static str,
    /// What a pipeline declares when events carry no schema; empty: nothing has to be said.
    pub declared: &'static str,
    /// How SQL tells the value.
    pub told: Told,
    /// SQL expressions.
    pub values: &'static [&'static str],
}

/// How a value is told in SQL, and how the product's value is told the same way.
#[derive(Clone, Copy, PartialEq)]
pub enum Told {
    /// Integers, decimals, years and bits, as a number.
    Number,
    Float,
    /// Text as the hexadecimal digits of its UTF-8.
    Text,
    Hex,
    Days,
    Micros,
    TimeMicros,
    /// Well-known binary of a geometry.
    Geometry,
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

use Told::{Days, Float, Geometry, Hex, Micros, Number, Text, TimeMicros};

/// All that Debezium captures. Its parser of DDL does not know `inet4`, `inet6` and `vector`.
pub const COLUMNS: &[Column] = &[
    column("c_tiny", "tinyint", "", Number, &["-128", "127", "0"]),
    column("c_utiny", "tinyint unsigned", "", Number, &["255", "0"]),
    column("c_bool", "boolean", "", Number, &["0", "1", "127"]),
    column("c_small", "smallint", "", Number, &["-32768", "32767"]),
    column("c_usmall", "smallint unsigned", "", Number, &["65535"]),
    column("c_medium", "mediumint", "", Number, &["-8388608", "8388607"]),
    column("c_umedium", "mediumint unsigned", "", Number, &["16777215"]),
    column("c_int", "int", "", Number, &["-2147483648", "2147483647"]),
    column("c_uint", "int unsigned", "", Number, &["4294967295", "0"]),
    column("c_big", "bigint", "", Number, &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    column("c_ubig", "bigint unsigned", "uint64", Number, &["18446744073709551615", "9223372036854775808", "0", "1"]),
    column("c_zerofill", "int(8) unsigned zerofill", "", Number, &["42"]),
    column("c_dec", "decimal(18,2)", "decimal(18,2)", Number, &["-0.01", "1.10", "9999999999999999.99", "0"]),
    column("c_udec", "decimal(10,2) unsigned", "decimal(10,2)", Number, &["99999999.99", "0.01"]),
    column(
        "c_dec_wide",
        "decimal(65,30)",
        "decimal(65,30)",
        Number,
        &["99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001"],
    ),
    column("c_float", "float", "float64", Float, &["1.1", "-3.4028234e38", "1.17549435e-38", "0"]),
    column("c_double", "double", "float64", Float, &["0.1", "1.7976931348623157e308", "2.2250738585072014e-308"]),
    column("c_bit1", "bit(1)", "", Number, &["b'1'", "b'0'"]),
    column("c_bits", "bit(12)", "bits", Number, &["b'000000000001'", "b'101010101010'"]),
    column("c_bit64", "bit(64)", "bits", Number, &["18446744073709551615", "1"]),
    column("c_char", "char(5)", "", Text, &["'ab'", "'abcde'", "''"]),
    column("c_varchar", "varchar(20)", "", Text, &["'a'", "'trailing  '", "'null'"]),
    column("c_latin1", "varchar(20) character set latin1", "", Text, &["'é ÿ'"]),
    column("c_text", "text", "", Text, &["''", "'Ünïcödé 😀 \"quoted\" \\\\ back\\nline\\ttab'"]),
    column("c_long", "longtext", "", Text, &["repeat('x', 70000)"]),
    column("c_binary", "binary(4)", "bytes", Hex, &["x'00ff'", "x'00000000'"]),
    column("c_varbinary", "varbinary(8)", "bytes", Hex, &["''", "x'deadbeef00'"]),
    column("c_blob", "mediumblob", "bytes", Hex, &["x'00'", "repeat(x'ab', 70000)"]),
    column(
        "c_date",
        "date",
        "date",
        Days,
        &["'1970-01-01'", "'1969-12-31'", "'9999-12-31'", "'1000-01-01'", "'0000-00-00'"],
    ),
    column(
        "c_datetime",
        "datetime",
        "timestamp(3)",
        Micros,
        &["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'0000-00-00 00:00:00'"],
    ),
    column(
        "c_datetime3",
        "datetime(3)",
        "timestamp(3)",
        Micros,
        &["'2024-02-29 12:34:56.789'", "'1969-12-31 23:59:59.999'"],
    ),
    column(
        "c_datetime6",
        "datetime(6)",
        "timestamp(6)",
        Micros,
        &["'2024-02-29 12:34:56.123456'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999998'"],
    ),
    column("c_ts", "timestamp null", "timestamptz", Micros, &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"]),
    column(
        "c_ts6",
        "timestamp(6) null",
        "timestamptz",
        Micros,
        &["'2024-02-29 12:34:56.123456'", "'2038-01-19 03:14:07.999999'"],
    ),
    column("c_time", "time", "time", TimeMicros, &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'23:59:59'"]),
    column(
        "c_time6",
        "time(6)",
        "time",
        TimeMicros,
        &["'-838:59:59.999999'", "'838:59:59.999999'", "'-00:00:00.000001'"],
    ),
    // The connector's driver cannot read the year 0.
    column("c_year", "year", "", Number, &["1901", "2155"]),
    column("c_enum", "enum('sad','it''s ok','ü')", "", Text, &["'sad'", "'it''s ok'", "'ü'"]),
    column("c_set", "set('a','b c','d')", "", Text, &["''", "'a,d'", "'b c'"]),
    column("c_json", "json", "", Text, &["'{\"a\": 1.10, \"b\" : [1,2]}'", "'null'", "'12345678901234567890.10'"]),
    column("c_uuid", "uuid", "", Text, &["'60f14fe2-f857-404a-b586-3b5375b3259f'"]),
    column("c_point", "point", "point", Geometry, &["point(1.5,-2)"]),
    column("c_line", "linestring", "geometry", Geometry, &["ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
    column("c_polygon", "polygon", "geometry", Geometry, &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]),
    column("c_geometry", "geometry", "geometry", Geometry, &["ST_GeomFromText('POINT(3 4)', 4326)"]),
];

impl Column {
    /// The SQL expression that tells the value.
    pub fn expression(&self) -> String {
        let name = self.name;
        match self.told {
            Number if self.sql_type.starts_with("decimal") => format!("CAST({name} AS CHAR)"),
            Number => format!("CAST({name} + 0 AS CHAR)"),
            Float => format!("CAST({name} + 0e0 AS CHAR)"),
            Text => format!("HEX(CONVERT({name} USING utf8mb4))"),
            Hex => format!("HEX({name})"),
            Days => format!("DATEDIFF({name}, '1970-01-01')"),
            Micros => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {name})"),
            TimeMicros => format!("CAST(ROUND(TIME_TO_SEC({name}) * 1000000) AS SIGNED)"),
            Geometry => format!("HEX(ST_AsBinary({name}))"),
        }
    }

    /// The stored value, told the same way.
    pub fn tell(&self, value: &Value) -> Option<String> {
        let micros = |at: Timestamp| (i128::from(at.secs) * 1_000_000 + i128::from(at.nanos) / 1_000).to_string();
        Some(match (self.told, value) {
            (_, Value::Null) => return None,
            (Number, Value::Int(n)) => n.to_string(),
            (Number, Value::UInt(n)) => n.to_string(),
            (Number, Value::Bool(b)) => i64::from(*b).to_string(),
            (Number, Value::Decimal(d)) => d.to_string(),
            // The least significant byte first.
            (Number, Value::Bytes(bytes)) => bytes.iter().rev().fold(0u128, |n, b| n << 8 | u128::from(*b)).to_string(),
            (Float, Value::Float(f)) => f.to_string(),
            (Text, Value::Text(text) | Value::Json(text)) => hex(text.as_bytes()),
            (Hex, Value::Bytes(bytes)) => hex(bytes),
            (Days, Value::Date(date)) => date.days.to_string(),
            (Micros, Value::Timestamp(at) | Value::TimestampTz(at)) => micros(*at),
            (TimeMicros, Value::Time(time)) => (time.nanos / 1_000).to_string(),
            (Geometry, Value::Map(entries)) => match entries.iter().find(|(name, _)| *name == "wkb") {
                Some((_, Value::Bytes(wkb))) => hex(wkb),
                other => panic!("a geometry without bytes: {other:?}"),
            },
            _ => panic!("{}: {value:?}", self.name),
        })
    }

    /// Whether the two tell the same value.
    pub fn agree(&self, sql: Option<&str>, told: Option<&str>) -> bool {
        let (Some(sql), Some(told)) = (sql, told) else { return sql == told };
        match self.told {
            Float if self.sql_type == "float" => {
                sql.parse::<f64>().unwrap() as f32 == told.parse::<f64>().unwrap() as f32
            }
            Float => sql.parse::<f64>().unwrap() == told.parse::<f64>().unwrap(),
            _ => sql == told,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}
