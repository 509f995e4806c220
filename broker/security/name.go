package security

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The parts of a distinguished name as they stand in a certificate.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type attributesSET []attribute // the suffix is how encoding/asn1 knows a SET

// distinguishedName is the text of a certificate's subject as Java's X500Principal.getName gives
// it (RFC 2253), so that rules and ACLs written for Kafka go on to fit. It is made of the parsed
// name: what a value holds is escaped and can't look like a part of its own.
func distinguishedName(der []byte) (string, error) {
	var rdns []attributesSET
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return "", fmt.Errorf("the subject of a certificate can't be read: %w", err)
	}
	parts := make([]string, 0, len(rdns))
	for _, rdn := range slices.Backward(rdns) {
		values := make([]string, len(rdn))
		for i, a := range rdn {
			values[i] = a.text()
		}
		parts = append(parts, strings.Join(values, "+"))
	}
	return strings.Join(parts, ","), nil
}

// text is TYPE=VALUE; types without a name of their own in RFC 2253 are numbers, with the value in
// hexadecimal.
func (a attribute) text() string {
	keyword := map[string]string{
		"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
		"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
	}[a.Type.String()]
	value, readable := a.value()
	if keyword == "" || !readable {
		if keyword == "" {
			keyword = a.Type.String()
		}
		return keyword + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return keyword + "=" + escapeValue(value)
}

// value is the text of the value, if it is one of the kinds of text.
func (a attribute) value() (string, bool) {
	switch a.Value.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String:
		return string(a.Value.Bytes), a.Value.Class == asn1.ClassUniversal && utf8.Valid(a.Value.Bytes)
	case asn1.TagBMPString:
		var s string
		_, err := asn1.Unmarshal(a.Value.FullBytes, &s)
		return s, err == nil
	}
	return "", false
}

// escapeValue puts a backslash before what has a meaning in a name, and before spaces at the
// ends, as Java does; a zero byte is \00.
func escapeValue(s string) string {
	start, end := len(s)-len(strings.TrimLeft(s, " ")), len(strings.TrimRight(s, " "))
	var b strings.Builder
	for i, c := range s {
		switch {
		case c == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`,=+<>#;"\`, c), c == ' ' && (i < start || i >= end):
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}
