// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// tsmFolder is where the kernel makes reports (Documentation/ABI/testing/
// configfs-tsm-report, since 6.7).
const tsmFolder = "/sys/kernel/config/tsm/report"

// Providers of reports, by the kernel's names.
const (
	providerSNP = "sev_guest"
	providerTDX = "tdx_guest"
)

// Bounds of what is read, in bytes: the kernel's own for blobs are 32 KiB.
const (
	maxBlob      = 64 << 10
	maxAttribute = 4 << 10
)

const (
	// tsmTries is how often a report is made again because somebody else wrote to the
	// same entry.
	tsmTries = 5
	// tsmPause is the pause before the kernel is asked again that was busy.
	tsmPause = 50 * time.Millisecond
)

// A tsmReport is what the kernel gave for a request. Of a service of an SVSM it gives
// the manifest too.
type tsmReport struct{ out, aux, manifest []byte }

// A tsmService is a service of an SVSM that a report is to be about (configfs-tsm-report,
// service_provider, since 6.11). The zero value is none.
type tsmService struct{ provider, guid, version string }

// probeTSM returns the name of the kernel's provider, and whether the guest has an SVSM
// that it can ask about its services.
func probeTSM(ctx context.Context, k kernelTurn) (name string, svsm bool, err error) {
	type found struct {
		name string
		svsm bool
	}
	f, err := do(ctx, k, func(context.Context) (f found, err error) {
		err = withEntry(func(entry string) error {
			f.svsm = kernel().stat(entry+"/service_provider") == nil
			f.name, err = attribute(entry, "provider")
			return err
		})
		return f, err
	})
	return f.name, f.svsm, err
}

// requestTSM has the provider make a report with this inblob. Of a provider that knows
// privilege levels it asks for the lowest number that it permits: under an SVSM that is
// not 0. The entry is this request's own.
func requestTSM(ctx context.Context, k kernelTurn, provider string, inblob [64]byte) (tsmReport, error) {
	return requestService(ctx, k, provider, tsmService{}, inblob)
}

// requestService does so for a service of the SVSM, unless it is zero. The SVSM then asks
// for the report, at its own privilege level.
func requestService(ctx context.Context, k kernelTurn, provider string, service tsmService, inblob [64]byte) (tsmReport, error) {
	return do(ctx, k, func(ctx context.Context) (r tsmReport, err error) {
		err = withEntry(func(entry string) error {
			if got, err := attribute(entry, "provider"); err != nil || got != provider {
				return errors.Join(err, fmt.Errorf("the kernel's provider of reports is %.64q, want %q", got, provider))
			}
			r, err = tryTSM(ctx, entry, service, inblob)
			return err
		})
		return r, err
	})
}

// withEntry calls f with a new entry, and removes it.
func withEntry(f func(entry string) error) (err error) {
	var name [8]byte
	_, _ = rand.Read(name[:]) // it never returns an error
	entry := tsmFolder + "/assay-" + hex.EncodeToString(name[:])
	if err := kernel().mkdir(entry); err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("the kernel has no %s: mount configfs, and load the module tsm: %w", tsmFolder, err)
		case errors.Is(err, syscall.ENXIO):
			return fmt.Errorf("the kernel has no provider of reports: load sev-guest or tdx-guest, in a guest that is one: %w", err)
		}
		return err
	}
	defer func() { err = errors.Join(err, kernel().remove(entry)) }()
	return f(entry)
}

// attribute reads a text of an entry.
func attribute(entry, name string) (string, error) {
	data, err := kernel().read(entry+"/"+name, maxAttribute)
	return string(bytes.TrimSpace(data)), err
}

// generation counts the writes to an entry.
func generation(entry string) (uint64, error) {
	text, err := attribute(entry, "generation")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("generation of %s is %.32q", entry, text)
	}
	return n, nil
}

// tryTSM makes a report of an entry. The generation tells that nobody else wrote to it
// in between, and that our own writes took effect: configfs takes a blob when the file
// is closed, where an error gets lost.
func tryTSM(ctx context.Context, entry string, service tsmService, inblob [64]byte) (tsmReport, error) {
	for range tsmTries {
		before, err := generation(entry)
		if err != nil {
			return tsmReport{}, err
		}
		writes, err := writeRequest(entry, service, inblob)
		if err != nil {
			return tsmReport{}, err
		}
		r, err := readReport(ctx, entry, service)
		if err != nil {
			return tsmReport{}, err
		}
		after, err := generation(entry)
		if err != nil {
			return tsmReport{}, err
		}
		if after == before+writes {
			return r, nil
		}
	}
	return tsmReport{}, fmt.Errorf("another program wrote to %s during each of %d tries, or the kernel did not take what was written", entry, tsmTries)
}

// writeRequest writes what the report is to be about, and returns how many writes that
// took.
func writeRequest(entry string, service tsmService, inblob [64]byte) (writes uint64, err error) {
	if service != (tsmService{}) {
		writes, err = writeService(entry, service)
		if err != nil {
			return 0, err
		}
		return writes + 1, kernel().write(entry+"/inblob", inblob[:])
	}
	floor, err := attribute(entry, "privlevel_floor")
	switch {
	case err == nil:
		if err := kernel().write(entry+"/privlevel", []byte(floor)); err != nil {
			return 0, err
		}
		writes++
	case !errors.Is(err, fs.ErrNotExist): // of TDX
		return 0, err
	}
	return writes + 1, kernel().write(entry+"/inblob", inblob[:])
}

// writeService names a service of the SVSM.
func writeService(entry string, service tsmService) (writes uint64, err error) {
	for _, attribute := range []struct{ name, value string }{
		{"service_provider", service.provider}, {"service_guid", service.guid}, {"service_manifest_version", service.version},
	} {
		err := kernel().write(entry+"/"+attribute.name, []byte(attribute.value))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("the kernel has no %s in %s: this guest has no SVSM, or its kernel cannot ask it, which takes Linux 6.11: %w", attribute.name, tsmFolder, err)
		}
		if err != nil {
			return 0, err
		}
		writes++
	}
	return writes, nil
}

// readReport reads the report, which the first read makes. While the kernel is busy
// with one that was given up it asks again, until ctx ends.
func readReport(ctx context.Context, entry string, service tsmService) (tsmReport, error) {
	for {
		out, err := kernel().read(entry+"/outblob", maxBlob)
		if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EINTR) {
			select {
			case <-ctx.Done():
				return tsmReport{}, fmt.Errorf("the kernel has not answered, but that it is busy: %w", err)
			case <-time.After(tsmPause):
			}
			continue
		}
		if err != nil {
			return tsmReport{}, err
		}
		aux, err := kernel().read(entry+"/auxblob", maxBlob)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return tsmReport{}, err
		}
		if service == (tsmService{}) {
			return tsmReport{out: out, aux: aux}, nil
		}
		manifest, err := kernel().read(entry+"/manifestblob", maxBlob)
		return tsmReport{out, aux, manifest}, err
	}
}

// openCVM opens the TEE of a confidential VM that the kernel has a provider for. Kind
// auto takes what is there; another one is never taken in place of it.
func openCVM(ctx context.Context, config Config) (Attester, error) {
	turn := newKernelTurn(config.Timeout)
	provider, svsm, err := probeTSM(ctx, turn)
	source := snpSource{name: "configfs-tsm", report: func(ctx context.Context, reportData [64]byte) (tsmReport, error) {
		return requestTSM(ctx, turn, providerSNP, reportData)
	}}
	if errors.Is(err, fs.ErrNotExist) {
		provider, source, err = probeDevices(turn, err)
	}
	if err != nil {
		return nil, unavailable("looking for a confidential VM", err)
	}
	kind, known := map[string]string{providerSNP: KindSNP, providerTDX: KindTDX}[provider]
	if !known {
		return nil, verdict.Fail(verdict.EvidenceMissing, "opening TEE: the kernel's provider of reports is %.64q, want %s or %s", provider, providerSNP, providerTDX)
	}
	if config.Kind == KindAuto && kind == KindSNP && svsm {
		// A report of the guest's own level says less, and most relying parties refuse it.
		config.TPM = cmp.Or(config.TPM, autoTPM)
		return openSVSM(ctx, config)
	}
	if config.Kind != KindAuto && config.Kind != kind {
		return nil, verdict.Fail(verdict.EvidenceMissing, "opening TEE: this is a guest of kind %s (%s), and %s is configured", kind, provider, config.Kind)
	}
	folder, err := openEndorsements(config.Endorsements)
	if err != nil {
		return nil, err
	}
	if kind == KindSNP {
		return &snpAttester{turn: turn, source: source, folder: folder}, nil
	}
	return openTD(ctx, KindTDX, attest.TypeTDXQuote, &kernelTD{turn: turn, folder: folder}, config.StateDir)
}
