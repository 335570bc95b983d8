// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"crypto/x509"
	"math/big"
	"os"

	"golang.org/x/crypto/ocsp"
)

// TestingOnlyTemporaryName names the files that are not yet complete.
func TestingOnlyTemporaryName(c *Cache, name func() string) { c.temporaryName = name }

// TestingOnlyFlush is called in the place of syncing a file.
func TestingOnlyFlush(c *Cache, flush func(*os.File) error) { c.flush = flush }

// MemoryBytes is what the cache holds in memory.
func MemoryBytes(c *Cache) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Settle waits for the requests under way.
func Settle(c *Checker) { c.flights.wg.Wait() }

// For the fuzz tests.
var (
	ParseCRL      = parseCRL
	ParseResponse = parseResponse
	ParsePoints   = parsePoints
	NewRequest    = newRequest
)

// ParseIssuingPoint is for the fuzz tests.
var ParseIssuingPoint = parseIssuingPoint

// Find tells whether a list has an entry.
func Find(c *crl, serial *big.Int) (bool, error) {
	e, err := c.find(serial)
	return e != nil, err
}

// Verified tells whether a response is about the certificate and signed.
func Verified(r *response, cert, issuer *x509.Certificate) bool {
	_, err := checkResponse(r, cert, issuer)
	return err == nil
}

// StatusOf is the status of the first answer, as the library numbers it.
func StatusOf(r *response, cert, issuer *x509.Certificate) int {
	answers, _ := r.answersFor(cert, issuer)
	return map[status]int{good: ocsp.Good, revoked: ocsp.Revoked, unknown: ocsp.Unknown}[answers[0].status]
}
