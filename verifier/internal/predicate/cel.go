// SPDX-License-Identifier: Apache-2.0

package predicate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/assayd/assay/verdict"
)

// Limits of a condition.
const (
	// MaxExpression bounds a condition in bytes.
	MaxExpression = 4 << 10
	// CostLimit bounds one evaluation, in units of cel-go's cost model: about 6
	// for each element that a simple condition touches. Cel-go's accounting costs
	// time itself, in proportion to the length of the list: over 10 000 elements
	// this limit is reached in about half a second. The caller bounds the time.
	CostLimit = 200_000
	// maxNesting bounds the nesting of an expression.
	maxNesting = 32
	// interruptEvery is after how many iterations the context is looked at.
	interruptEvery = 256
)

// environment is what conditions can name. It has no time of day: a condition
// means the same whenever it is asked.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	texts := cel.MapType(cel.StringType, cel.StringType)
	return cel.NewEnv(
		cel.Variable("predicate", cel.DynType),
		cel.Variable("predicateType", cel.StringType),
		cel.Variable("subject", cel.DynType),
		cel.Variable("image", texts),
		cel.Variable("signer", texts),
		cel.Variable("signedAt", cel.DynType),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxNesting),
		ext.Strings(), ext.Lists(), ext.Sets(), ext.Math(),
	)
})

// A Program is a condition that was checked. It may be used concurrently.
type Program struct {
	text    string
	program cel.Program
}

// Compile checks a condition in CEL. Names in it are predicate (the statement's,
// of any type), predicateType, subject, image.repository, image.digest,
// signer.issuer, signer.san, signer.key, and signedAt (a timestamp, or null
// where nothing proves one). The error says where in the condition, as
// line:column.
func Compile(expression string) (*Program, error) {
	if len(expression) > MaxExpression {
		return nil, fmt.Errorf("a condition of %d bytes, want at most %d", len(expression), MaxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("making the environment of conditions: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("condition %d:%d: %s", first.Location.Line(), first.Location.Column()+1, first.Message)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("condition is of type %s, want bool", t)
	}
	program, err := env.Program(ast, cel.CostLimit(CostLimit), cel.InterruptCheckFrequency(interruptEvery), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	return &Program{text: expression, program: program}, nil
}

// An Input is what a condition is about.
type Input struct {
	// Statement is the payload whose signature was verified.
	Statement []byte
	// Repository and Digest are those of the image.
	Repository, Digest string
	// Issuer and SAN are those of the signer's certificate, Key the SHA-256 of
	// its public key.
	Issuer, SAN, Key string
	// SignedAt is the earliest proven time of signing, or zero.
	SignedAt time.Time
}

// Eval decides the condition. It is nil when the condition holds, a
// [verdict.Refusal] with statement.predicate when it does not, and a
// [verdict.Failure] with policy.error when it cannot be decided: a member that
// is not there, another type, too much work, no time left.
func (p *Program) Eval(ctx context.Context, in Input) error {
	s, err := parse(in.Statement)
	if err != nil {
		return err
	}
	variables := map[string]any{
		"predicate": s.predicate, "predicateType": s.predicateType, "subject": s.subject,
		"image":  map[string]string{"repository": in.Repository, "digest": in.Digest},
		"signer": map[string]string{"issuer": in.Issuer, "san": in.SAN, "key": in.Key},
	}
	if variables["signedAt"] = any(types.NullValue); !in.SignedAt.IsZero() {
		variables["signedAt"] = in.SignedAt
	}
	out, _, err := p.program.ContextEval(ctx, variables)
	if err != nil {
		return verdict.Fail(verdict.PolicyError, "deciding %q: %w", clip(p.text), err)
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return verdict.Fail(verdict.PolicyError, "deciding %q: got a %s, want true or false", clip(p.text), out.Type().TypeName())
	}
	if !holds {
		return verdict.Refuse(verdict.StatementPredicate, "deciding %q: it does not hold", clip(p.text))
	}
	return nil
}
